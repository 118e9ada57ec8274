"""What a node still has to give: its resources less what the tasks on it reserve."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from swarmcore.model.resources import GenericResource, Resources
from swarmcore.model.task import Task

_NOTHING = Resources()


class Amount(Struct, frozen=True):
    """Processors in billionths, bytes of memory, and generic resources as counts by kind."""

    cpus: int = 0
    memory: int = 0
    generic: tuple[tuple[str, int], ...] = ()


def reserved_by(task: Task) -> Amount:
    needs = task.spec.resources.reservations if task.spec.resources is not None else None
    return amount(needs or _NOTHING)


def amount(resources: Resources) -> Amount:
    counts = Counter[str]()
    for resource in resources.generic_resources:
        kind, number = _count(resource)
        counts[kind] += number
    return Amount(resources.nano_cpus, resources.memory_bytes, tuple(sorted(counts.items())))


def _count(resource: GenericResource) -> tuple[str, int]:
    if resource.discrete_resource_spec is not None:
        return resource.discrete_resource_spec.kind, resource.discrete_resource_spec.value
    named = resource.named_resource_spec
    return (named.kind, 1) if named is not None else ("", 0)


class Free:
    """What is left of `total` as tasks come and go."""

    def __init__(self, total: Resources) -> None:
        start = amount(total)
        self.cpus, self.memory = start.cpus, start.memory
        self.generic = Counter(dict(start.generic))

    def take(self, needs: Amount) -> None:
        self._change(needs, -1)

    def give_back(self, needs: Amount) -> None:
        self._change(needs, 1)

    def _change(self, needs: Amount, sign: int) -> None:
        self.cpus += sign * needs.cpus
        self.memory += sign * needs.memory
        for kind, number in needs.generic:
            self.generic[kind] += sign * number

    def has(self, needs: Amount) -> bool:
        """A need of nothing is met on a node that is overbooked too."""
        if (needs.cpus and needs.cpus > self.cpus) or (needs.memory and needs.memory > self.memory):
            return False
        return all(number <= self.generic[kind] for kind, number in needs.generic)
