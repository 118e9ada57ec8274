"""Container starts below the orchestrator: the time of one and the rate at 1, 2, 4 and 8 at once.

    python bench/start_runtime.py [--count 40]

dockerd 20.10 on such a machine: 206 ms for one, at most 4.5 a second. Needs root, conmon and crun.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pyswarmd.lab.demo_image import DEMO_REFERENCE, build_demo_image
from swarmcore.ids import new_id
from swarmcore.model.container import ContainerSpec
from swarmcore.model.task import Task, TaskSpec
from worker.containers.engine import engine_of_host
from worker.containers.registry import ContainerRegistry
from worker.images.store import ImageStore
from worker.runtime.tools import preflight
from worker.tasks.executor import ContainerExecutor

_DOCKERD_MS = 206.0
_DOCKERD_RATE = 4.5


async def _start_one(executor: ContainerExecutor) -> tuple[float, float, str]:
    """Milliseconds of prepare and of start, and the task."""
    spec = ContainerSpec(image=DEMO_REFERENCE, args=("sleep", "1000"))
    task = Task(id=new_id(), spec=TaskSpec(container_spec=spec))
    controller = await executor.controller(task, {}, {})
    began = time.perf_counter()
    await controller.prepare()
    prepared = time.perf_counter()
    await controller.start()
    return (prepared - began) * 1e3, (time.perf_counter() - prepared) * 1e3, task.id


async def _round(
    executor: ContainerExecutor, count: int, parallel: int
) -> tuple[float, list[tuple[float, float]]]:
    places = asyncio.Semaphore(parallel)

    async def one() -> tuple[float, float, str]:
        async with places:
            return await _start_one(executor)

    began = time.perf_counter()
    found = await asyncio.gather(*(one() for _ in range(count)))
    seconds = time.perf_counter() - began
    await executor.sweep(())
    return count / seconds, [(prepare, start) for prepare, start, _ in found]


async def _measure(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="pyswarm-bench-") as name:
        base = Path(name)
        images = ImageStore(base / "state/images")
        await images.open()
        (base / "demo.tar").write_bytes(build_demo_image())
        await images.load(base / "demo.tar")
        engine = engine_of_host(
            state_dir=base / "state",
            run_dir=base / "run",
            images=images,
            tools=preflight(),
            cgroup_parent=f"pyswarm-bench-{secrets.token_hex(4)}",
            hostname="bench",
        )
        containers = ContainerRegistry(engine)
        executor = ContainerExecutor(containers)
        await containers.open()
        try:
            await _round(executor, 3, 1)  # warm the runtime's seccomp cache
            print(
                f"{'at once':>8} {'starts/s':>9} {'of dockerd':>11} {'median ms':>10} {'best ms':>8} {'prepare ms':>11}"
            )
            for parallel in (1, 2, 4, 8):
                rate, times = await _round(executor, count, parallel)
                whole = [prepare + start for prepare, start in times]
                prepared = statistics.median(prepare for prepare, _ in times)
                print(
                    f"{parallel:>8} {rate:>9.1f} {rate / _DOCKERD_RATE:>10.1f}x {statistics.median(whole):>10.1f}"
                    f" {min(whole):>8.1f} {prepared:>11.1f}"
                )
            print(f"dockerd 20.10: {_DOCKERD_MS:.0f} ms for one, at most {_DOCKERD_RATE} a second")
        finally:
            await executor.sweep(())
            await executor.close()
            await containers.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=40, help="containers a round (40)")
    asyncio.run(_measure(parser.parse_args().count))


if __name__ == "__main__":
    main()
