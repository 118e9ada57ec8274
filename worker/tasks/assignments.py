"""Turns the dispatcher's numbered assignments into running task managers, and remembers them on disk.

A task is on disk before anything is started for it: whatever a restarted daemon finds running and does not
find in its database belongs to nobody. Where the disk takes nothing a new task is rejected, so that it can run
elsewhere; tasks that are known go on. Where the database was lost nobody knows what belongs to whom until the
leader has told all tasks of this node.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from random import Random
from typing import Protocol

from msgspec.structs import replace

from swarmcore.aio import Backoff, Tasks, supervise
from swarmcore.clock import Clock
from swarmcore.errors import SwarmError, Unavailable
from swarmcore.model.node import NodeDescription
from swarmcore.model.task import Task, TaskState, TaskStatus
from swarmcore.process.faults import Faults
from swarmcore.rpc.messages.networks import NetworkUpdate
from swarmcore.rpc.messages.session import Assignments
from worker.tasks.controller import Executor
from worker.tasks.dependencies import Dependencies
from worker.tasks.manager import TaskManager
from worker.tasks.state_db import StateDb

log = logging.getLogger(__name__)


class SequenceGap(Unavailable):
    """An assignment does not follow the one before: only a new session brings the whole state again."""


class Sequence:
    """Which message may come next in one session; assignments and network updates count for themselves."""

    def __init__(self, what: str = "assignment") -> None:
        self._what = what
        self._at: int | None = None

    def accept(self, message: Assignments | NetworkUpdate) -> None:
        if not message.full and message.applies_to != self._at:
            raise SequenceGap(
                f"{self._what} {message.results_in} applies to {message.applies_to}, not {self._at}"
            )
        self._at = message.results_in


class Statuses(Protocol):
    """Who tells the leader; what of `worker.agent.reporter.Reporter` is needed."""

    def put(self, task_id: str, status: TaskStatus) -> None: ...

    def forget(self, task_id: str) -> None: ...


class AssignedTasks:
    """All tasks of this node. `carry_out` returns when the change is on disk and its loops have been told."""

    def __init__(
        self,
        *,
        executor: Executor,
        db: StateDb,
        reporter: Statuses,
        description: Callable[[], NodeDescription | None],
        clock: Clock,
        random: Random,
        faults: Faults | None = None,
    ) -> None:
        self._executor = executor
        self._db = db
        self._faults = faults or Faults()
        self._restored = False
        self._sweep_is_due = False
        self._reporter = reporter
        self._description = description
        self._clock = clock
        self._random = random
        self._dependencies = Dependencies()
        self._managers: dict[str, TaskManager] = {}
        self._loops = Tasks()

    @property
    def statuses(self) -> Mapping[str, TaskStatus]:
        return {task_id: manager.status for task_id, manager in self._managers.items()}

    def get(self, task_id: str) -> Task | None:
        manager = self._managers.get(task_id)
        return manager.task if manager is not None else None

    def __len__(self) -> int:
        return len(self._managers)

    async def restore(self) -> None:
        """After a restart: sweep what no known task owns, then go on where each task was. May be repeated."""
        if self._restored:
            return
        self._sweep_is_due = True
        if not self._db.lost:
            await self._sweep(frozenset(self._db.tasks))
        for known in self._db.tasks.values():
            self._manage(replace(known.task, status=known.status or known.task.status))
        self._restored = True
        if self._managers:
            log.info("tasks restored", extra={"tasks": len(self._managers)})

    async def _sweep(self, known: frozenset[str]) -> None:
        await self._executor.sweep(known)
        self._sweep_is_due = False

    async def carry_out(self, message: Assignments) -> None:
        if message.full:
            self._dependencies.reset(message.secrets, message.configs)
        else:
            self._dependencies.put(message.secrets, message.configs)
        unwritten = await self._remember(message.tasks)
        for task in message.tasks:
            if (manager := self._managers.get(task.id)) is not None:
                manager.reassign(task)
            elif unwritten is not None and task.status.state < TaskState.STARTING:
                self._reject(task, unwritten)
            else:
                log.info("task assigned", extra={"task": task.id, "service": task.service_id})
                self._manage(task)
        gone = set(message.removed_tasks)
        if message.full:
            gone = self._managers.keys() - {task.id for task in message.tasks}
        for task_id in sorted(gone):
            if (manager := self._managers.get(task_id)) is not None:
                manager.remove()
        self._dependencies.remove(message.removed_secrets, message.removed_configs)
        if message.full and self._sweep_is_due:
            await self._sweep(frozenset(self._managers))

    async def _remember(self, tasks: Collection[Task]) -> SwarmError | None:
        """What went wrong; `StateDb` goes on trying."""
        if not tasks:
            return None
        try:
            await self._db.put_tasks(tasks)
        except SwarmError as error:
            return error
        return None

    def _reject(self, task: Task, reason: SwarmError) -> None:
        self._db.forget_task(task.id)
        status = replace(
            task.status,
            timestamp=self._clock.now(),
            state=TaskState.REJECTED,
            message="rejected",
            err=f"this node takes no new task: {reason}",
        )
        log.warning("task rejected", extra={"task": task.id, "reason": str(reason)})
        self._reporter.put(task.id, status)

    def _manage(self, task: Task) -> None:
        manager = TaskManager(
            task,
            executor=self._executor,
            dependencies=self._dependencies,
            description=self._description,
            report=self._observed,
            clock=self._clock,
            backoff=Backoff(self._random, first=0.5),
        )
        self._managers[task.id] = manager
        backoff = Backoff(self._random, first=0.5)
        run = supervise(lambda: self._run(manager), "task manager", self._clock, backoff, self._faults)
        self._loops.start(run, f"task manager {task.id}")

    async def _run(self, manager: TaskManager) -> None:
        await manager.run()
        task_id = manager.task.id
        self._reporter.forget(task_id)
        try:
            await self._db.forget_task(task_id)
        except SwarmError as error:  # its container is gone; a restart would find that too
            log.debug("a removed task is still in the database", extra={"task": task_id, "err": str(error)})
        del self._managers[task_id]
        log.info("task removed", extra={"task": task_id})

    def _observed(self, task_id: str, status: TaskStatus) -> None:
        self._reporter.put(task_id, status)
        # Not awaited: a status lost in a crash is observed again (see StateDb.put_status).
        self._db.put_status(task_id, status)

    async def close(self) -> None:
        """End the loops; containers go on without us."""
        await self._loops.close()
