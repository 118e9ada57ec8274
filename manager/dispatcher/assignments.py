"""What one node has been told, and what it must be told next: a diff of the store against the last message.

Pure: values in, messages out. A task is sent when it is assigned and again when anything but its status
changed; the secrets and configs come along while the task may still need them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from manager.store.tables import Tables
from swarmcore.aio import STRETCH, stretches
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import Task, TaskState
from swarmcore.rpc.messages.session import Assignments, dependencies_of

MAX_ITEMS = 100
MAX_BYTES = 4 << 20  # a quarter of what a frame may carry
Needs = tuple[frozenset[str], frozenset[str]]  # secrets, configs
NOTHING: Needs = (frozenset(), frozenset())
# The agent made the status, and object bookkeeping means nothing to it.
_IGNORED = frozenset({"version", "created_at", "updated_at", "status"})
_COMPARED = tuple(name for name in Task.__struct_fields__ if name not in _IGNORED)


def is_assigned(task: Task, node_id: str) -> bool:
    return task.node_id == node_id and task.status.state >= TaskState.ASSIGNED


def same_assignment(one: Task, other: Task) -> bool:
    """Whether the agent would not notice the difference."""
    return one is other or all(getattr(one, name) == getattr(other, name) for name in _COMPARED)


def _needs(task: Task) -> Needs:
    """A task that has ended, or shall end, needs no secret any more."""
    if task.desired_state >= TaskState.SHUTDOWN or task.status.state >= TaskState.COMPLETE:
        return NOTHING
    return dependencies_of(task)


class NodeAssignments:
    """What the agent of one session holds. `full` once, then `changes` for the tasks that may have changed."""

    def __init__(
        self,
        node_id: str,
        withheld: Callable[[Task], bool] = lambda task: False,
        removal_withheld: Callable[[str], bool] = lambda task_id: False,
    ) -> None:
        """`withheld(task)`: the agent must not hear yet that this task shall stop, or (by its id) that it is gone."""
        self._node_id = node_id
        self._withheld = withheld
        self._removal_withheld = removal_withheld
        self._sent: dict[str, Task] = {}
        self._needs: dict[str, Needs] = {}  # of tasks that need something
        self._wanted_secrets: Counter[str] = Counter()  # by how many tasks
        self._wanted_configs: Counter[str] = Counter()
        self._secrets: set[str] = set()
        self._configs: set[str] = set()
        self._number = 0

    def full(self, view: Tables) -> Iterator[Assignments | None]:
        """Everything; the agent drops what is not in it. None: a turn for others, as there may be very many tasks."""
        self._sent, self._needs = {}, {}
        self._secrets, self._configs = set(), set()
        self._wanted_secrets, self._wanted_configs = Counter(), Counter()
        tasks: list[Task] = []
        for part in stretches(view.tasks.find("node_id", self._node_id)):
            tasks += [self._shown(task) for task in part if is_assigned(task, self._node_id)]
            if len(part) == STRETCH:
                yield None
        yield from self._messages(view, tasks, (), full=True)

    def changes(self, view: Tables, task_ids: Iterable[str] | None) -> Iterator[Assignments | None]:
        """What these tasks (None: any) have become since they were sent; nothing if the agent knows it all."""
        if task_ids is None:
            found = view.tasks.find("node_id", self._node_id)
            task_ids = dict.fromkeys([*self._sent, *(task.id for task in found)])
        changed: list[Task] = []
        removed: list[str] = []
        for part in stretches(task_ids):
            for task_id in part:
                self._compare(view, task_id, changed, removed)
            if len(part) == STRETCH:
                yield None
        yield from self._messages(view, changed, removed, full=False)

    def _compare(self, view: Tables, task_id: str, changed: list[Task], removed: list[str]) -> None:
        before, now = self._sent.get(task_id), view.tasks.get(task_id)
        now = self._shown(now) if now is not None else None
        if now is None or not is_assigned(now, self._node_id):
            if before is not None and not (now is None and self._removal_withheld(task_id)):
                removed.append(task_id)
        elif before is None or not same_assignment(before, now):
            changed.append(now)
        elif task_id in self._needs and _needs(now) != self._needs[task_id]:
            self._need(task_id, _needs(now))  # it ended: its secrets may leave the node

    def _need(self, task_id: str, needs: Needs = NOTHING) -> None:
        """Count anew what this task needs."""
        before = self._needs.pop(task_id, NOTHING)
        if needs != NOTHING:
            self._needs[task_id] = needs
        counts = (self._wanted_secrets, self._wanted_configs)
        for count, old, new in zip(counts, before, needs, strict=True):
            count.update(new)
            count.subtract(old)
            for id in old - new:
                if not count[id]:
                    del count[id]

    def _shown(self, task: Task) -> Task:
        if self._withheld(task):
            return replace(task, desired_state=TaskState.RUNNING)
        return task

    def _messages(
        self, view: Tables, tasks: Sequence[Task], removed: Sequence[str], *, full: bool
    ) -> Iterator[Assignments | None]:
        for part in stretches(tasks):
            for task in part:
                self._sent[task.id] = task
                self._need(task.id, _needs(task))
            if len(part) == STRETCH:
                yield None
        for task_id in removed:
            del self._sent[task_id]
            self._need(task_id)
        wanted_secrets, wanted_configs = self._wanted_secrets.keys(), self._wanted_configs.keys()
        secrets = [
            s for i in sorted(wanted_secrets - self._secrets) if (s := view.secrets.get(i)) is not None
        ]
        configs = [
            c for i in sorted(wanted_configs - self._configs) if (c := view.configs.get(i)) is not None
        ]
        gone_secrets = tuple(sorted(self._secrets - wanted_secrets))
        gone_configs = tuple(sorted(self._configs - wanted_configs))
        self._secrets = (self._secrets & wanted_secrets) | {s.id for s in secrets}
        self._configs = (self._configs & wanted_configs) | {c.id for c in configs}
        if not (full or tasks or removed or secrets or configs or gone_secrets or gone_configs):
            return
        # What tasks need goes before them, what they no longer need goes last.
        for position, (items, last) in enumerate(_chunks([*secrets, *configs, *tasks])):
            yield Assignments(
                applies_to=self._number,
                results_in=self._number + 1,
                full=full and position == 0,
                more=not last,
                tasks=tuple(item for item in items if isinstance(item, Task)),
                secrets=tuple(item for item in items if isinstance(item, Secret)),
                configs=tuple(item for item in items if isinstance(item, Config)),
                removed_tasks=tuple(removed) if last else (),
                removed_secrets=gone_secrets if last else (),
                removed_configs=gone_configs if last else (),
            )
            self._number += 1


def _chunks(items: Sequence[Task | Secret | Config]) -> Iterator[tuple[list[Task | Secret | Config], bool]]:
    """At least one, and of each whether it is the last; made as they are asked for."""
    chunk: list[Task | Secret | Config] = []
    size = 0
    for item in items:
        length = len(msgspec.msgpack.encode(item))
        if chunk and (len(chunk) >= MAX_ITEMS or size + length > MAX_BYTES):
            yield chunk, False
            chunk, size = [], 0
        chunk.append(item)
        size += length
    yield chunk, True
