"""Processor, memory, process and generic resources: what a node has, what a task reserves and may use at most."""

from __future__ import annotations

from msgspec import field

from swarmcore.model.base import Part


class NamedResource(Part, frozen=True, kw_only=True):
    """One item of a named set, such as GPU=UUID1."""

    kind: str = ""
    value: str = ""


class DiscreteResource(Part, frozen=True, kw_only=True):
    """A count, such as SSD=3."""

    kind: str = ""
    value: int = 0


class GenericResource(Part, frozen=True, kw_only=True):
    """Exactly one of both."""

    named_resource_spec: NamedResource | None = None
    discrete_resource_spec: DiscreteResource | None = None


class Resources(Part, frozen=True, kw_only=True):
    """What a node has, and what a task reserves on it."""

    nano_cpus: int = field(default=0, name="NanoCPUs")
    memory_bytes: int = 0
    generic_resources: tuple[GenericResource, ...] = ()


class Limit(Part, frozen=True, kw_only=True):
    """What the cgroup enforces; 0 means no limit."""

    nano_cpus: int = field(default=0, name="NanoCPUs")
    memory_bytes: int = 0
    pids: int = 0


class ResourceRequirements(Part, frozen=True, kw_only=True):
    limits: Limit | None = None
    reservations: Resources | None = None
    swap_bytes: int | None = None
    memory_swappiness: int | None = None
