"""The loop that deletes the tasks of containers outside of services: nothing replaces one, so it goes when it ends."""

from __future__ import annotations

from manager.rules.current import is_attachment, is_lost
from manager.store.follow import follow
from manager.store.store import Store
from manager.store.tables import Tables, View
from manager.store.tx import Tx
from manager.store.watch import Commit
from swarmcore.clock import Clock
from swarmcore.model.node import Node, NodeState
from swarmcore.model.task import Task, TaskState


class AttachmentReaper:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._dirty: dict[str, None] = {}

    async def run(self) -> None:
        await follow(self._store, self._clock, self, frozenset({Task, Node}))

    # -- Follower ----------------------------------------------------------------------------------
    def begin(self, view: View) -> None:
        self._dirty = {task.id: None for task in view.tasks if is_attachment(task)}

    def note(self, commit: Commit) -> None:
        for change in commit.changes:
            match change.object:
                case Task() as task if change.new is not None and is_attachment(task):
                    self._dirty[task.id] = None
                case Node() as node if change.new is None or node.status.state is NodeState.DOWN:
                    tasks = self._store.view().tasks.find("node_id", node.id)
                    self._dirty |= {task.id: None for task in tasks if is_attachment(task)}

    async def act(self) -> float | None:
        view = self._store.view()
        if over := [task_id for task_id in self._dirty if _may_go(view, task_id)]:
            await self._store.batch(over, _delete)
        self._dirty.clear()
        return None


def _may_go(view: Tables, task_id: str) -> bool:
    """It has ended, its node was removed, or it shall be removed and nobody is there who has to end it."""
    task = view.tasks.get(task_id)
    if task is None:
        return False
    node = view.nodes.get(task.node_id)
    if task.status.state.is_final or node is None:
        return True
    told = task.status.state >= TaskState.ASSIGNED  # else its agent never heard of it
    return task.desired_state >= TaskState.REMOVE and (not told or is_lost(task, node))


def _delete(tx: Tx, task_id: str) -> None:
    if _may_go(tx, task_id):
        tx.tasks.delete(task_id)
