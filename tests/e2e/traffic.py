"""Requests to a URL from wherever it is run, one connection each; what came back, counted, as JSON.

    python -m tests.e2e.traffic http://10.77.0.11:8080/cgi-bin/client --count 200 --parallel 4
    python -m tests.e2e.traffic http://10.77.0.11:8080/ --until-eof

Given several URLs it takes them in turn. `--until-eof` goes on until its standard input is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
from collections import Counter
from datetime import UTC, datetime
from urllib.parse import urlsplit

from tests.e2e.connecting import connect

PATIENCE = 5.0


async def get(url: str, *, patient: bool = False) -> str:
    """The body of the answer; raises OSError, TimeoutError or ValueError."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    async with asyncio.timeout(PATIENCE):
        reader, writer = await connect(parts.hostname, parts.port or 80, patient=patient)
        try:
            writer.write(f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {parts.hostname}\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank or b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise ValueError(f"no good answer: {answer[:60]!r}")
    return body.decode().strip()


class Traffic:
    def __init__(self, urls: list[str], count: int | None, *, patient: bool = False) -> None:
        self._patient = patient
        self._urls = itertools.cycle(urls)
        self._left = count
        self.stopped = False
        self.answers: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def _next(self) -> str | None:
        if self.stopped or self._left == 0:
            return None
        if self._left is not None:
            self._left -= 1
        return next(self._urls)

    async def worker(self) -> None:
        while (url := self._next()) is not None:
            try:
                self.answers[await get(url, patient=self._patient)] += 1
            except (OSError, TimeoutError, ValueError) as error:
                # UTC, as in the daemons' logs.
                at = datetime.now(UTC).time().isoformat("milliseconds")
                self.errors[f"{type(error).__name__}: {error} ({url} at {at})"] += 1


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--count", type=int)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--until-eof", action="store_true")
    parser.add_argument("--patient", action="store_true", help="see connecting.py")
    given = parser.parse_args()
    traffic = Traffic(given.urls, None if given.until_eof else given.count or 1, patient=given.patient)
    loop = asyncio.get_running_loop()
    if given.until_eof:

        def read() -> None:
            if not os.read(0, 4096):
                traffic.stopped = True
                loop.remove_reader(0)

        loop.add_reader(0, read)
    await asyncio.gather(*(traffic.worker() for _ in range(given.parallel)))
    print(json.dumps({"answers": traffic.answers, "errors": traffic.errors}))


asyncio.run(main())
