"""Task groups and owners: what they end, what they raise, and what they leave behind."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from datetime import UTC, datetime
from random import Random

import pytest

from netoverlay.netlink.wire import NetlinkError
from swarmcore.aio import Backoff, Changes, TaskGroup, Tasks, end, in_thread, owned, supervise, to_the_end
from swarmcore.errors import Internal
from swarmcore.process.faults import Faults, passes


class Broken(Exception):
    pass


async def fail() -> None:
    await asyncio.sleep(0)
    raise Broken


async def test_a_group_that_fails_while_it_ends_leaves_no_request_to_cancel() -> None:
    """With asyncio's own group the time-out below ended the task itself in Python 3.11.2, silently."""

    async def agent() -> str:
        with pytest.raises(ExceptionGroup):
            async with TaskGroup() as group:
                group.create_task(fail())
                group.create_task(asyncio.sleep(60))
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(60)
        return "goes on"

    async with owned(agent(), "agent") as running:
        assert await running == "goes on"


async def test_a_group_whose_body_fails_ends_its_tasks() -> None:
    async with Ended() as ended:
        with pytest.raises(ExceptionGroup) as failures:
            async with TaskGroup() as group:
                group.create_task(ended.wait_forever())
                await asyncio.sleep(0)
                raise Broken
        assert failures.group_contains(Broken)


class Ended:
    """Counts what was cancelled."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def __aenter__(self) -> Ended:
        return self

    async def __aexit__(self, *failure: object) -> None:
        assert self.cancelled == 1

    async def wait_forever(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def test_a_cancelled_group_ends_its_tasks_and_is_cancelled() -> None:
    async with Ended() as ended:

        async def run() -> None:
            async with TaskGroup() as group:
                group.create_task(ended.wait_forever())

        async with owned(run(), "group") as running:
            await asyncio.sleep(0.001)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running


async def test_a_cancelled_group_is_cancelled_whatever_its_tasks_fail_with() -> None:
    """Else a caller that handles the failure goes on, and whoever ends it waits for ever."""

    async def fail_when_ended() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise Broken

    async def run() -> None:
        try:
            async with TaskGroup() as group:
                group.create_task(fail_when_ended())
                await asyncio.sleep(0.001)
                started.set()
        except* Broken:
            pass
        await asyncio.Event().wait()

    started = asyncio.Event()
    running = asyncio.get_running_loop().create_task(run())
    await started.wait()
    running.cancel()
    assert await asyncio.wait({running}, timeout=10) == ({running}, set())
    assert running.cancelled()


async def test_a_group_that_fails_before_it_is_cancelled_tells_what_failed() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with TaskGroup() as group:
            group.create_task(fail())
            group.create_task(asyncio.sleep(0))
    assert raised.group_contains(Broken)
    await asyncio.sleep(0)  # nothing is left of the group's own request to cancel


async def test_a_task_that_loses_a_request_to_cancel_is_asked_again() -> None:
    lost = 0

    async def careless() -> None:
        nonlocal lost
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
        await asyncio.Event().wait()

    running = asyncio.get_running_loop().create_task(careless())
    await asyncio.sleep(0)
    await end(running, again=0.01)
    assert running.cancelled() and lost == 2


async def test_a_part_that_its_owner_ends_is_in_no_trouble_any_more() -> None:
    faults, clock = Faults(), Lived()
    async with owned(supervise(fail, "link", clock, Backoff(Random(1)), faults), "link"):
        while not faults.text:
            await asyncio.sleep(0)
    assert faults.text == ""
    assert faults.counts["link"] >= 1


async def test_a_group_waits_for_tasks_that_its_tasks_start() -> None:
    done: list[int] = []

    async def start(group: TaskGroup, number: int) -> None:
        await asyncio.sleep(0)
        if number:
            group.create_task(start(group, number - 1))
        done.append(number)

    async with TaskGroup() as group:
        group.create_task(start(group, 3))
    assert done == [3, 2, 1, 0]


async def test_a_failed_task_is_told_to_its_owner() -> None:
    told: list[str] = []
    tasks = Tasks(on_failure=lambda name, error: told.append(f"{name}: {error!r}"))
    task = tasks.start(fail(), "worker")
    await asyncio.wait({task})
    await asyncio.sleep(0)
    await tasks.close()
    assert told == ["worker: Broken()"]


class Lived:
    """Sleeps end when the test says so; `slept` counts them."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.wake = asyncio.Event()

    def monotonic(self) -> float:
        return float(len(self.slept))

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds >= 10.0:  # the time to be healthy
            await self.wake.wait()


class Part:
    """A part of the daemon that fails as often as it is told to, then lives."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.lives = asyncio.Event()

    async def run(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.lives.set()
        await asyncio.Event().wait()


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_part_that_fails_is_started_again_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    clock, faults = Lived(), Faults()
    part = Part(Broken("x"), Broken("x"), full())
    async with owned(supervise(part.run, "part", clock, Backoff(Random(1)), faults), "supervised"):
        await part.lives.wait()
        assert faults.counts == {"part": 3}
        assert faults.text == "part: [Errno 28] No space left on device"
        clock.wake.set()
        while faults.text:
            await asyncio.sleep(0)
    levels = [record.levelname for record in caplog.records]
    assert levels == ["ERROR", "WARNING", "WARNING"], "a fault is an error once, what passes is none"


async def test_a_part_that_returns_is_over() -> None:
    faults = Faults()
    failures: list[Exception] = [full()]

    async def run() -> None:
        if failures:
            raise failures.pop()

    await supervise(run, "part", Lived(), Backoff(Random(1)), faults)
    assert (faults.text, faults.counts) == ("", {"part": 1})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, ""), True),
        (OSError(errno.EMFILE, ""), True),
        (NetlinkError(errno.ENOBUFS), True),
        (InterruptedError(errno.EINTR, ""), True),
        (MemoryError(), True),
        (ExceptionGroup("both", [OSError(errno.ENOSPC, ""), OSError(errno.EMFILE, "")]), True),
        (ExceptionGroup("one", [OSError(errno.ENOSPC, ""), KeyError("x")]), False),
        (OSError(errno.ENOENT, ""), False),
        (KeyError("x"), False),
    ],
)
def test_what_passes_is_known_by_its_number(error: Exception, expected: bool) -> None:
    assert passes(error) is expected
    wrapped = Internal("cannot write")
    wrapped.__cause__ = error
    assert passes(wrapped) is expected


async def test_a_lock_is_held_as_long_as_the_work_that_it_guards() -> None:
    lock, begun, finish, over = asyncio.Lock(), asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        finish.wait()
        over.set()

    async def guarded() -> None:
        async with lock:
            await in_thread(work)

    async def next_one() -> bool:
        async with lock:
            return over.is_set()

    async with owned(guarded(), "guarded") as first:
        await begun.wait()
        async with owned(next_one(), "next") as second:
            for _ in range(3):  # an impatient caller
                first.cancel()
                await asyncio.sleep(0)
            assert not first.done() and not second.done()
            finish.set()
            assert await second
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_work_to_the_end_returns_and_raises_as_if_awaited() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert await to_the_end(answer()) == 42
    with pytest.raises(Broken):
        await to_the_end(fail())


async def test_a_failure_after_the_caller_was_cancelled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with owned(to_the_end(fail()), "failing") as task:
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert "Broken" in caplog.records[-1].__dict__["reason"]


async def test_work_that_ends_itself_by_a_cancellation_cancels_its_caller() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await to_the_end(cancelled())


async def test_an_owner_closes_at_the_very_moment_a_task_is_done() -> None:
    """From Python 3.12 on it went round and round without ever giving the loop its turn."""
    tasks = Tasks()
    done = tasks.start(asyncio.sleep(0), "short")
    while not done.done():
        await asyncio.sleep(0)
    await tasks.close()
    assert len(tasks) == 0


async def test_everybody_who_waits_for_a_change_is_woken_and_looks_himself() -> None:
    changes, seen = Changes(), list[int]()
    found: list[int] = []

    async def wait(number: int) -> None:
        await changes.until(lambda: len(seen) >= number)
        found.append(number)

    async with TaskGroup() as group:
        for number in (2, 0, 1):
            group.create_task(wait(number))
        await asyncio.sleep(0)
        assert found == [0]
        for step in (1, 2):
            seen.append(step)
            changes.tell()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert found == [*range(step + 1)]
