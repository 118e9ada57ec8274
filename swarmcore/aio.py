"""The only place that starts asyncio tasks outside a TaskGroup: every task has an owner that ends it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import asynccontextmanager
from contextvars import Context
from itertools import islice
from random import Random
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from swarmcore.clock import Clock
from swarmcore.process.faults import Faults, log_level, one_line, passes

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
CANCELLED_AGAIN = 10.0  # seconds


class Tasks:
    """Background tasks of one owner. `close` cancels and awaits them all.

    An unexpected exception is logged with its traceback and handed to `on_failure`
    (the owner decides: stop the component, restart it); it is never lost.
    """

    def __init__(self, on_failure: Callable[[str, BaseException], None] | None = None) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_failure = on_failure
        self._closed = False

    def start(self, coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        if self._closed:
            coro.close()
            raise RuntimeError(f"cannot start {name}: its owner is closed")
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.log(
            log_level(error), "background task failed", exc_info=error, extra={"task_name": task.get_name()}
        )
        if self._on_failure is not None:
            self._on_failure(task.get_name(), error)

    def __len__(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        self._closed = True
        while pending := [t for t in self._tasks if t is not asyncio.current_task()]:
            await end(*pending)
            # Waiting for tasks that are done gives the loop no turn, in which they would leave by themselves.
            self._tasks.difference_update([task for task in pending if task.done()])


async def end(*tasks: asyncio.Task[Any], again: float = CANCELLED_AGAIN) -> None:
    """Cancel the tasks and return when all have ended, however they did.

    Whatever runs in them, also others' libraries, may lose a request to cancel. So who has not ended is asked again
    every `again` seconds: long enough for whoever clears up first.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        ended, pending = await asyncio.wait(pending, timeout=again)
        for task in ended:
            if not task.cancelled():
                task.exception()  # whoever has use for it heard of it elsewhere
        for task in pending:
            log.warning("a task goes on that was cancelled", extra={"task_name": task.get_name()})


async def _end_now(*tasks: asyncio.Task[Any]) -> None:
    """As `end`, for what is short and often: a timer for each, which is hardly ever needed, would cost more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class TaskGroup(asyncio.TaskGroup):
    """asyncio's, but waits for its tasks before it begins to end, and a parent that is cancelled ends as cancelled.

    Up to Python 3.12, a task that fails while the group ends leaves the parent with a request to cancel that nobody
    takes back. In Python 3.11.2, Debian 12's, the parent's next `asyncio.timeout` then ends it silently.

    Where a task fails while the parent is being cancelled, asyncio's raises what it failed with: up to Python 3.12
    the request to cancel is lost, and a parent that handles the failure goes on for ever (gh-117407).
    """

    def __init__(self) -> None:
        super().__init__()
        self._running: set[asyncio.Task[Any]] = set()
        self._requests = 0  # to cancel the parent, before it came here

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._requests = _current().cancelling()
        return self

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = super().create_task(coro, name=name, context=context)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                while self._running:
                    await asyncio.wait(self._running)
            except BaseException as raised:  # noqa: BLE001 - the group decides what becomes of it
                kind, error, trace = type(raised), raised, raised.__traceback__
        try:
            await super().__aexit__(kind, error, trace)
        except BaseExceptionGroup as failures:
            if _current().cancelling() <= self._requests:
                raise
            # From Python 3.13 on, asyncio asks the parent once more: what is raised here is the answer.
            if sys.version_info >= (3, 13):
                _current().uncancel()
            raise asyncio.CancelledError from failures


def _current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None, "only a task has a group"
    return task


@asynccontextmanager
async def owned(coro: Coroutine[Any, Any, Any], name: str) -> AsyncIterator[asyncio.Task[Any]]:
    """Run `coro` beside the block; it is cancelled and awaited when the block ends."""
    tasks = Tasks()
    task = tasks.start(coro, name)
    try:
        yield task
    finally:
        if not task.done():
            await _end_now(task)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end, whatever happens to the caller: a cancellation is passed on only then.

    For what cannot be broken off and must end before something else goes on: a lock around it is held as long as it
    takes, what the caller undoes afterwards stays undone. `asyncio.shield` returns at once instead, and `work` goes on
    beside whoever comes next. Only for work that ends by itself, and soon.
    """
    task = asyncio.get_running_loop().create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.warning("work failed whose caller has gone", extra={"reason": repr(failure)})
        raise cancelled
    return task.result()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`asyncio.to_thread`, but the caller goes on, or is cancelled, only when the thread is done with it."""
    return await to_the_end(asyncio.to_thread(function, *args, **kwargs))


class Pointless(Exception):
    """What was waited for did not come before something that made it pointless."""


async def unless(work: Coroutine[Any, Any, T], stop: Coroutine[Any, Any, object]) -> T:
    """What `work` gives or raises; Pointless if `stop` ends first. Both have ended when this returns."""
    loop = asyncio.get_running_loop()
    working, stopping = loop.create_task(work), loop.create_task(stop)
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        stopping.result()
        raise Pointless
    finally:
        await _end_now(working, stopping)


class Changes:
    """Wakes those who wait for something to become true whenever somebody tells of a change."""

    def __init__(self) -> None:
        self._told = asyncio.Event()

    def tell(self) -> None:
        self._told.set()

    async def until(self, true: Callable[[], object]) -> None:
        """At once if it is true already; nobody else has a turn between its being true and the return."""
        while not true():
            self._told.clear()
            await self._told.wait()


class Backoff:
    """Delays of a retry loop: uniform in [0, bound), bound = first, then 2·bound + first, up to `limit`."""

    def __init__(self, random: Random, first: float = 0.1, limit: float = 8.0) -> None:
        self._random, self._first, self._limit, self._bound = random, first, limit, first

    def reset(self) -> None:
        self._bound = self._first

    def next(self) -> float:
        delay = self._random.random() * self._bound
        self._bound = min(self._limit, 2 * self._bound + self._first)
        return delay


def on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler. What passes (no descriptor left to accept a connection) is a warning; so is, with
    its traceback, what broke a single connection: whoever has it hears that it is lost, as when its peer dies."""
    error = context.get("exception")
    if isinstance(error, BaseException) and passes(error):
        log.warning(context.get("message", "a callback failed"), extra={"reason": one_line(error)})
    elif isinstance(error, BaseException) and "protocol" in context:
        log.warning(
            "a connection broke",
            exc_info=error,
            extra={"what": context.get("message", ""), "reason": one_line(error)},
        )
    else:
        loop.default_exception_handler(context)


async def supervise(
    run: Callable[[], Awaitable[None]],
    name: str,
    clock: Clock,
    backoff: Backoff,
    faults: Faults | None = None,
    *,
    healthy_after: float = 10.0,
) -> None:
    """Run `run` until it returns: where it fails it is started again with backoff, so it must look at what is, not
    at what it was told before.

    A fault of ours is one ERROR with its traceback; the same one again, and what passes (`swarmcore.process.faults`),
    are warnings. `faults` hears of each failure, and that it is over once `run` lives for `healthy_after` seconds.
    """
    faults = faults or Faults()
    failed = False
    try:
        while True:
            try:
                if failed:
                    async with owned(
                        _healthy(clock, healthy_after, backoff, faults, name), f"{name} recovers"
                    ):
                        await run()
                else:
                    await run()
                return
            except Exception as error:
                failed = True
                news = faults.failed(name, error)
                fault = news and not passes(error)
                log.log(
                    logging.ERROR if fault else logging.WARNING,
                    "component failed, starting it again",
                    exc_info=error if fault else None,
                    extra={"component": name, "reason": one_line(error)},
                )
            await clock.sleep(backoff.next())
    finally:
        faults.over(name)  # a part that is not there any more is in no trouble


async def _healthy(clock: Clock, seconds: float, backoff: Backoff, faults: Faults, name: str) -> None:
    await clock.sleep(seconds)
    backoff.reset()
    faults.over(name)


#: Long work as a generator: it yields wherever others may have a turn, and returns its result.
Turns = Generator[None, None, T]
#: So many small things (microseconds each) may be done without a turn for the others, heartbeats among them.
STRETCH = 500


async def in_turns(work: Turns[T]) -> T:
    """The result of `work`; everybody else on the loop has a turn at each of its yields."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast(T, end.value)
        await asyncio.sleep(0)


def at_once(work: Turns[T]) -> T:
    """The result of `work` where nobody else has to have a turn."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast(T, end.value)


def stretches(items: Iterable[T], size: int = STRETCH) -> Iterator[list[T]]:
    """`items` in lists of at most `size`; what they come from must not change meanwhile."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
