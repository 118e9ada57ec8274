"""The leader's loop that moves NEW tasks to PENDING once they have what the swarm hands out.

A replicated task brings its slot along, so there is nothing left to wait for; addresses and ports join here later.
All tasks of the commits that came in meanwhile go together: fifty new tasks cost one raft entry.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial

from msgspec.structs import replace

from manager.store.store import Store
from manager.store.tx import MAX_CHANGES, Tx
from manager.store.watch import Commit, Lagged
from swarmcore.clock import Clock
from swarmcore.errors import OutOfSequence, Unavailable
from swarmcore.model.task import Task, TaskState, TaskStatus

log = logging.getLogger(__name__)
MESSAGE = "pending task scheduling"
RETRY = 0.1  # seconds until a lost write is planned again from the state


class Allocator:
    """Runs while this manager leads; its first pass looks at every task."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        while True:
            try:
                await self._run()
            except Lagged:
                log.info("the allocator fell behind the store and starts over")
            except (Unavailable, OutOfSequence) as error:
                # Whether the write happened is what the state will say.
                log.info("tasks are allocated again in a moment", extra={"error": str(error)})
                await self._clock.sleep(RETRY)

    async def _run(self) -> None:
        with self._store.view_and_watch() as (view, feed):
            ids = [task.id for task in view.tasks if is_new(task)]
            while True:
                while ids:
                    done = await self._store.transact(partial(allocate, ids[:MAX_CHANGES]))
                    ids = ids[done:]
                ids = new_tasks([await feed.get(), *feed.drain()])


def is_new(task: Task) -> bool:
    """A task that shall run. One that was given up while it was new stays so: nothing of it has to be undone."""
    return task.status.state is TaskState.NEW and task.desired_state <= TaskState.COMPLETE


def new_tasks(commits: Iterable[Commit]) -> list[str]:
    """The ids of tasks that are to be allocated, each once, in the order of the log."""
    found: dict[str, None] = {}
    for commit in commits:
        for change in commit.changes:
            if isinstance(change.new, Task) and is_new(change.new):
                found[change.new.id] = None
    return list(found)


def allocate(task_ids: Sequence[str], tx: Tx) -> int:
    """How many are done, at least one: large tasks may not all fit one entry."""
    for done, task_id in enumerate(task_ids):
        mark = tx.mark()
        task = tx.tasks.get(task_id)
        if task is not None and is_new(task):
            status = TaskStatus(timestamp=tx.now(), state=TaskState.PENDING, message=MESSAGE)
            tx.tasks.put(replace(task, status=status))
            if done and not tx.fits:
                tx.undo_to(mark)
                return done
    return len(task_ids)
