"""What of a node's resources is still free: processors, memory, and generic ones, counted or named.

Reservations count, limits do not. A task holds what it reserved until it is seen to have ended, whatever is
wanted of it. A node may be overcommitted (it shrank): then its free amounts are negative, and only tasks that
reserve none of those still fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from swarmcore.model.resources import DiscreteResource, GenericResource, NamedResource, Resources
from swarmcore.model.task import Task, TaskSpec

NOTHING = Resources()


def reserved(spec: TaskSpec) -> Resources:
    """What a task of this spec asks for."""
    if spec.resources is None or spec.resources.reservations is None:
        return NOTHING
    return spec.resources.reservations


class Free:
    """The free resources of one node; `reserve` and `release` undo each other, in any order."""

    __slots__ = ("_counts", "_names", "_used_names", "memory_bytes", "nano_cpus")

    def __init__(self, total: Resources) -> None:
        self.nano_cpus = total.nano_cpus
        self.memory_bytes = total.memory_bytes
        self._counts: Counter[str] = Counter()
        self._names: dict[str, set[str]] = {}
        self._used_names: Counter[tuple[str, str]] = Counter()
        for kind, count, name in _items(total.generic_resources):
            if name:
                self._names.setdefault(kind, set()).add(name)
            else:
                self._counts[kind] += count

    def reserve(self, task: Task) -> None:
        self._book(task, 1)

    def release(self, task: Task) -> None:
        self._book(task, -1)

    def _book(self, task: Task, sign: int) -> None:
        wanted = reserved(task.spec)
        self.nano_cpus -= sign * wanted.nano_cpus
        self.memory_bytes -= sign * wanted.memory_bytes
        for kind, count, name in _items(task.generic_resources):
            if name:
                self._used_names[kind, name] += sign
            else:
                self._counts[kind] -= sign * count

    def fits(self, wanted: Resources) -> bool:
        if wanted.nano_cpus and wanted.nano_cpus > self.nano_cpus:
            return False
        if wanted.memory_bytes and wanted.memory_bytes > self.memory_bytes:
            return False
        return not wanted.generic_resources or self.claim(wanted) is not None

    def claim(self, wanted: Resources) -> tuple[GenericResource, ...] | None:
        """The generic resources that a task would get; None if they do not suffice. Takes nothing."""
        claimed: list[GenericResource] = []
        taken: set[tuple[str, str]] = set()
        counts: Counter[str] = Counter()
        for kind, count, name in _items(wanted.generic_resources):
            free = [item for item in self._free_names(kind) if (kind, item) not in taken]
            if name:
                names = [name] if name in free else []
                short = not names
            elif kind in self._names:
                names = free[:count]
                short = len(names) < count
            else:
                names = []
                counts[kind] += count
                short = counts[kind] > self._counts[kind]
                claimed.append(_discrete(kind, count))
            if short:
                return None
            taken.update((kind, item) for item in names)
            claimed += [_named(kind, item) for item in names]
        return tuple(claimed)

    def _free_names(self, kind: str) -> list[str]:
        return sorted(name for name in self._names.get(kind, ()) if self._used_names[kind, name] <= 0)


def _items(resources: tuple[GenericResource, ...]) -> Iterator[tuple[str, int, str]]:
    """(kind, count, name): the name is empty for a count."""
    for resource in resources:
        if (named := resource.named_resource_spec) is not None:
            yield named.kind, 1, named.value
        elif (discrete := resource.discrete_resource_spec) is not None:
            yield discrete.kind, discrete.value, ""


def _discrete(kind: str, count: int) -> GenericResource:
    return GenericResource(discrete_resource_spec=DiscreteResource(kind=kind, value=count))


def _named(kind: str, name: str) -> GenericResource:
    return GenericResource(named_resource_spec=NamedResource(kind=kind, value=name))
