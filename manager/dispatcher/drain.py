"""The drain barrier: a task hears that it shall stop only when no host sends it new connections any more.

Whoever holds a network of the task must confirm an update in which its endpoint is not active. A host that is stuck
or dead delays that by a second at most; one whose session ends does not count. A new leader begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from manager.store.tables import Reader
from swarmcore.aio import Turns, at_once, stretches
from swarmcore.clock import Clock
from swarmcore.model.task import Task, TaskState

PATIENCE = 1.0  # seconds
_UNKNOWN = ""  # stands for the hosts of which a new leader does not know yet


def has_connections(task: Task) -> bool:
    """It runs on networks whose addresses come from the swarm: others may be connected to it."""
    return task.status.state is TaskState.RUNNING and any(a.addresses for a in task.networks_attachments)


def _shall_stop(task: Task) -> bool:
    return task.desired_state >= TaskState.SHUTDOWN


class Holder(Protocol):
    """A session, as far as the barrier needs it."""

    session_id: str

    def networks_needed(self, network_ids: Iterable[str]) -> int:
        """The number of the update that contains all that is committed now of these; 0 if it holds none of them."""
        ...

    @property
    def confirmed_networks(self) -> int: ...


class _Draining:
    def __init__(self, node_id: str, deadline: float, waits_for: dict[str, int]) -> None:
        self.node_id, self.deadline, self.waits_for = node_id, deadline, waits_for
        self.removed = False  # from the store


class DrainBarrier:
    """`released(task_id, node_id)` is called when a withheld task may stop. All calls in the event loop's thread.

    Tell it of a change when the endpoint tables have followed it.
    """

    def __init__(self, clock: Clock, released: Callable[[str, str], None]) -> None:
        self._clock, self._released = clock, released
        self._draining: dict[str, _Draining] = {}
        self._passed: set[str] = set()  # their agents may know that they shall stop
        self._wake = asyncio.Event()

    def withholds(self, task: Task) -> bool:
        """Whether its agent must not hear yet that it shall stop."""
        return _shall_stop(task) and has_connections(task) and task.id not in self._passed

    def withholds_removal(self, task_id: str) -> bool:
        """The same of a task that is not in the store any more."""
        return task_id in self._draining

    def restart(self, tasks: Iterable[Task]) -> None:
        """A new leader, without any session: it does not know whom to wait for, only how long."""
        at_once(self.restart_in_turns(tasks))

    def restart_in_turns(self, tasks: Iterable[Task]) -> Turns[None]:
        self._draining.clear()
        self._passed.clear()
        for part in stretches(tasks):
            for task in part:
                if _shall_stop(task) and has_connections(task):
                    self._hold(task, {_UNKNOWN: 0})
            yield

    def catch_up(self, tasks: Reader[Task], holders: Collection[Holder]) -> None:
        """Any task may have changed, unseen."""
        for task_id in [*self._draining, *self._passed]:
            if (task := tasks.get(task_id)) is None or task.status.state.is_final:
                self._forget(task_id)
        for task in tasks:
            if self.withholds(task) and task.id not in self._draining:
                self._begin(task, holders)

    def changed(self, old: Task | None, new: Task | None, holders: Collection[Holder]) -> None:
        """One change of a task; None: it was not there, or is not any more."""
        if new is None:
            if old is not None:
                self._removed(old, holders)
        elif new.status.state.is_final:
            self._forget(new.id)
        elif _shall_stop(new) and new.id not in self._draining:
            if old is not None and _shall_stop(old) and not has_connections(old):
                self._passed.add(new.id)  # it was told to stop before it ran
            elif self.withholds(new):
                self._begin(new, holders)

    def joined(self, holder: Holder, tasks: Iterable[Task]) -> None:
        """A session begins, with these tasks on its node. Until its first update is confirmed the host goes by what it
        was told before, and may send new connections to whatever has begun to stop since, its own tasks first."""
        first = holder.networks_needed(())
        if first <= holder.confirmed_networks:
            return
        for draining in self._draining.values():
            draining.waits_for[holder.session_id] = first
        for task in tasks:
            if _shall_stop(task) and has_connections(task) and task.id in self._passed:
                self._passed.discard(task.id)
                self._hold(task, {holder.session_id: first})

    def _removed(self, task: Task, holders: Collection[Holder]) -> None:
        if has_connections(task) and task.id not in self._passed and task.id not in self._draining:
            self._begin(task, holders)
        self._passed.discard(task.id)
        if (draining := self._draining.get(task.id)) is not None:
            draining.removed = True

    def _begin(self, task: Task, holders: Iterable[Holder]) -> None:
        networks = [attachment.network_id for attachment in task.networks_attachments]
        needed = {holder: holder.networks_needed(networks) for holder in holders}
        waits_for = {h.session_id: number for h, number in needed.items() if number > h.confirmed_networks}
        if waits_for:
            self._hold(task, waits_for)
        else:
            self._passed.add(task.id)

    def _hold(self, task: Task, waits_for: dict[str, int]) -> None:
        self._draining[task.id] = _Draining(task.node_id, self._clock.monotonic() + PATIENCE, waits_for)
        self._wake.set()

    def _forget(self, task_id: str) -> None:
        self._draining.pop(task_id, None)
        self._passed.discard(task_id)

    def confirmed(self, holder: Holder) -> None:
        """The host of this session has applied more."""
        number = holder.confirmed_networks
        self._heard(holder.session_id, lambda needed: number >= needed)

    def left(self, session_id: str) -> None:
        """A session has ended: nobody waits for it."""
        self._heard(session_id, lambda needed: True)

    def _heard(self, session_id: str, enough: Callable[[int], bool]) -> None:
        for task_id, draining in list(self._draining.items()):
            needed = draining.waits_for.get(session_id)
            if needed is not None and enough(needed):
                del draining.waits_for[session_id]
                if not draining.waits_for:
                    self._release(task_id)

    def _release(self, task_id: str) -> None:
        draining = self._draining.pop(task_id)
        if not draining.removed:
            self._passed.add(task_id)
        self._released(task_id, draining.node_id)

    async def run(self) -> None:
        """Let go of tasks whose hosts do not answer in time, for ever."""
        while True:
            if not self._draining:
                self._wake.clear()
                await self._wake.wait()
                continue
            now = self._clock.monotonic()
            for task_id, draining in list(self._draining.items()):
                if draining.deadline <= now:
                    self._release(task_id)
            if self._draining:
                first = min(draining.deadline for draining in self._draining.values())
                await self._clock.sleep(max(0.0, first - now))
