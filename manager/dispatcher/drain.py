"""The drain barrier: a task hears that it shall stop only when no host sends it new connections any more.

Whoever holds a network of the task must confirm an update in which its endpoint is not active. A host that is stuck
or dead delays that by a second at most; one whose session ends does not count. A new leader begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from swarmcore.clock import Clock
from swarmcore.model.task import Task, TaskState

PATIENCE = 1.0  # seconds


def needs_drain(task: Task) -> bool:
    """It gets connections, and shall stop."""
    running = task.status.state is TaskState.RUNNING
    return running and task.desired_state > TaskState.RUNNING and bool(task.networks_attachments)


class Holder(Protocol):
    """A session, as far as the barrier needs it."""

    session_id: str

    def holds_networks(self, network_ids: Iterable[str]) -> bool: ...

    def next_network_update(self) -> int:
        """The number of an update that will contain all that is committed now."""
        ...

    @property
    def confirmed_networks(self) -> int: ...


class _Draining:
    def __init__(self, deadline: float, waits_for: dict[str, int]) -> None:
        self.deadline, self.waits_for = deadline, waits_for


class DrainBarrier:
    """`released(task_id)` is called when a withheld task may stop. All calls in the event loop's thread."""

    def __init__(self, clock: Clock, released: Callable[[str], None]) -> None:
        self._clock, self._released = clock, released
        self._draining: dict[str, _Draining] = {}
        self._passed: set[str] = set()
        self._changed = asyncio.Event()

    def clear(self) -> None:
        self._draining.clear()
        self._passed.clear()

    def withholds(self, task: Task) -> bool:
        """Whether its agent must not hear yet that it shall stop: also while `begin` has yet to come."""
        return needs_drain(task) and task.id not in self._passed

    def begin(self, task: Task, holders: Iterable[Holder]) -> None:
        """The task shall stop: wait for these. Repeatable; `released` is not called where nobody is waited for."""
        if not needs_drain(task) or task.id in self._draining or task.id in self._passed:
            return
        networks = [attachment.network_id for attachment in task.networks_attachments]
        waits_for = {h.session_id: h.next_network_update() for h in holders if h.holds_networks(networks)}
        if waits_for:
            self._hold(task.id, waits_for)
        else:
            self._passed.add(task.id)

    def begin_blind(self, task: Task) -> None:
        """The task was to stop before anybody's session opened here: whom to wait for is not known, only how long."""
        if needs_drain(task):
            self._hold(task.id, {"": 0})

    def _hold(self, task_id: str, waits_for: dict[str, int]) -> None:
        self._draining[task_id] = _Draining(self._clock.monotonic() + PATIENCE, waits_for)
        self._changed.set()

    def confirmed(self, holder: Holder) -> None:
        """The host of this session has applied more."""
        for task_id, draining in list(self._draining.items()):
            needed = draining.waits_for.get(holder.session_id)
            if needed is not None and holder.confirmed_networks >= needed:
                self._done(task_id, holder.session_id)

    def left(self, session_id: str) -> None:
        """A session has ended: nobody waits for it."""
        for task_id, draining in list(self._draining.items()):
            if session_id in draining.waits_for:
                self._done(task_id, session_id)

    def ended(self, task_id: str) -> None:
        """The task is final or gone."""
        self._draining.pop(task_id, None)
        self._passed.discard(task_id)

    def _done(self, task_id: str, session_id: str) -> None:
        draining = self._draining[task_id]
        draining.waits_for.pop(session_id, None)
        if not draining.waits_for:
            self._release(task_id)

    def _release(self, task_id: str) -> None:
        del self._draining[task_id]
        self._passed.add(task_id)
        self._released(task_id)

    async def run(self) -> None:
        """Let go of tasks whose hosts do not answer in time, for ever."""
        while True:
            if not self._draining:
                self._changed.clear()
                await self._changed.wait()
                continue
            now = self._clock.monotonic()
            for task_id, draining in list(self._draining.items()):
                if draining.deadline <= now:
                    self._release(task_id)
            if self._draining:
                first = min(draining.deadline for draining in self._draining.values())
                await self._clock.sleep(max(0.0, first - now))
