"""Times of repeated actions, beside something plain, as rows of a Markdown table."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from netoverlay.netns import Namespace


class Times:
    """Of one action, repeated: wall and processor time. Netlink works within the call, so the latter has it all."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    @contextmanager
    def taken(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.cpu.append((time.process_time() - cpu) * 1e3)
        self.wall.append((time.perf_counter() - wall) * 1e3)

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    @property
    def processor(self) -> float:
        return statistics.median(self.cpu)

    def row(self, name: str, plain: float) -> None:
        p90 = statistics.quantiles(self.wall, n=10)[8] if len(self.wall) > 1 else self.wall[0]
        print(
            f"| {name} | {self.median:.2f} | {p90:.2f} | {self.processor:.2f} | {self.median / plain:.2f} |",
            flush=True,
        )


def head(what: str, plain: str) -> None:
    print(f"\n| {what} | median, ms | p90, ms | processor, ms | of {plain} |\n|---|---|---|---|---|")


def by_process(namespace: Namespace, program: Sequence[str], text: str) -> None:
    """A program that reads a batch, inside the namespace: an administrator's way."""
    subprocess.run(["nsenter", f"--net={namespace.path}", *program], input=text.encode(), check=True)
