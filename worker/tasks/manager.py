"""One task on this node: a loop that climbs the ladder with the task's controller and reports each rung.

The loop makes one step at a time. A step under way is broken off only when the task shall stop; a task
that is no longer assigned is stopped, its container removed, and the loop ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from swarmcore.aio import Backoff, owned
from swarmcore.clock import Clock
from swarmcore.errors import SwarmError
from swarmcore.model.node import NodeDescription
from swarmcore.model.task import ContainerStatus, PortStatus, Task, TaskState, TaskStatus
from swarmcore.process.faults import log_level, one_line, passes
from worker.tasks.controller import ContainerFailed, Controller, Executor
from worker.tasks.dependencies import Dependencies
from worker.tasks.lifecycle import Action, Rung, next_rung, state_after_failure
from worker.tasks.template import expand_task

log = logging.getLogger(__name__)
Report = Callable[[str, TaskStatus], None]


class TaskManager:
    """`status` is the newest observed status; `run` is the loop, owned by whoever made the manager."""

    def __init__(
        self,
        task: Task,
        *,
        executor: Executor,
        dependencies: Dependencies,
        description: Callable[[], NodeDescription | None],
        report: Report,
        clock: Clock,
        backoff: Backoff,
    ) -> None:
        self.task = task
        self.status = task.status
        self._executor = executor
        self._dependencies = dependencies
        self._description = description
        self._report = report
        self._clock = clock
        self._backoff = backoff
        self._controller: Controller | None = None
        # False: the executor has never heard of this task, so that there is nothing to stop or remove.
        self._touched = task.status.state > TaskState.ACCEPTED
        self._removed = False
        self._changed = asyncio.Event()
        self._stop_wanted = asyncio.Event()
        if task.desired_state >= TaskState.SHUTDOWN:
            self._stop_wanted.set()

    @property
    def removed(self) -> bool:
        return self._removed

    def reassign(self, task: Task) -> None:
        """A newer assignment of the same task; only the desired state can have changed in a way that matters."""
        self.task = replace(task, desired_state=max(task.desired_state, self.task.desired_state))
        if self.task.desired_state >= TaskState.SHUTDOWN:
            self._stop_wanted.set()
        self._changed.set()

    def remove(self) -> None:
        """The task is not assigned any more: stop it, delete its container, end the loop."""
        self._removed = True
        self._stop_wanted.set()
        self._changed.set()

    async def run(self) -> None:
        while True:
            desired = TaskState.REMOVE if self._removed else self.task.desired_state
            rung = next_rung(self.status.state, desired)
            if rung is not None:
                await self._climb(rung)
            elif self._removed:
                await self._persist(self._discard, "container removal failed, trying again")
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    async def _climb(self, rung: Rung) -> None:
        if rung.action is Action.PROCEED:
            self._observe(rung.leads_to, rung.message)
        elif rung.action is Action.STOP:
            await self._persist(self._stop, "task does not stop, trying again")
            self._observe(rung.leads_to, rung.message)
        else:
            async with (
                owned(self._attempt(rung), f"task {self.task.id}") as attempt,
                owned(self._stop_wanted.wait(), f"stop of task {self.task.id}") as stop,
            ):
                await asyncio.wait({attempt, stop}, return_when=asyncio.FIRST_COMPLETED)
            # Leaving the block has cancelled the attempt if it was not done: the next rung is STOP then.

    async def _attempt(self, rung: Rung) -> None:
        """Do one step with the controller; whatever goes wrong becomes the task's final status."""
        try:
            controller = await self._control()
            match rung.action:
                case Action.PREPARE:
                    await controller.prepare()
                case Action.START:
                    await controller.start()
                case Action.WAIT:
                    await controller.wait()
        except ContainerFailed as failure:
            self._fail(str(failure), exit_code=failure.exit_code)
        except SwarmError as error:
            self._fail(str(error))
        except Exception as error:
            facts = {"task": self.task.id, "reason": one_line(error)}
            fault = None if passes(error) else error
            log.log(log_level(error), "task failed unexpectedly", exc_info=fault, extra=facts)
            self._fail(one_line(error))
        else:
            self._observe(rung.leads_to, rung.message)

    async def _control(self) -> Controller:
        if self._controller is None:
            task = self.task
            if self.status.state < TaskState.STARTING:
                await self._dependencies.wait_for(task)
            self._touched = True
            description = self._description()
            secrets, configs = self._dependencies.of(task, description)
            self._controller = await self._executor.controller(
                expand_task(task, description), secrets, configs
            )
        return self._controller

    async def _stop(self) -> None:
        if self._touched:
            await (await self._adopted()).shutdown()

    async def _discard(self) -> None:
        if self._touched:
            await (await self._adopted()).remove()

    async def _adopted(self) -> Controller:
        """A controller to stop or remove with: needs neither secrets nor placeholders."""
        if self._controller is None:
            self._controller = await self._executor.controller(self.task, {}, {})
        return self._controller

    async def _persist(self, step: Callable[[], Awaitable[None]], complaint: str) -> None:
        """Stopping and removing must succeed in the end: the resources are the node's."""
        self._backoff.reset()
        while True:
            try:
                await step()
                return
            except Exception:
                log.warning(complaint, exc_info=True, extra={"task": self.task.id})
            await self._clock.sleep(self._backoff.next())

    def _fail(self, err: str, exit_code: int | None = None) -> None:
        state = state_after_failure(self.status.state)
        self._observe(state, state.name.lower(), err=err, exit_code=exit_code)

    def _observe(
        self, state: TaskState, message: str, *, err: str = "", exit_code: int | None = None
    ) -> None:
        container, ports = self.status.container_status, self.status.port_status
        if self._controller is not None:
            container = self._controller.status()
            ports = PortStatus(ports=self._controller.ports())
        if exit_code is not None:
            container = replace(container or ContainerStatus(), exit_code=exit_code)
        self.status = replace(
            self.status,
            timestamp=self._clock.now(),
            state=state,
            message=message,
            err=err,
            container_status=container,
            port_status=ports,
        )
        level = logging.WARNING if err else logging.INFO if state.is_final else logging.DEBUG
        log.log(level, "task state", extra={"task": self.task.id, "state": state.name.lower(), "err": err})
        self._report(self.task.id, self.status)
