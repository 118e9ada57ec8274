"""The roots of the vocabulary: specs (what a user wants), objects (spec + what the swarm adds) and shared parts.

Every struct is stored, sent between nodes and served by the Engine API under the same names: Docker's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct, field

T = TypeVar("T")

Uint = Annotated[int, Meta(ge=0)]  # Go's uint64: Docker refuses a negative number here
Nanoseconds = int  # durations are integers of nanoseconds, as in the Engine API

# Marks a field that the swarm fills in and that the API neither takes nor gives.
INTERNAL = Meta(extra={"internal": True})


def shown(value: T, name: str | None = None) -> T:
    """A default that is written to JSON all the same, where Docker has no `omitempty`.

    msgspec never omits what a `default_factory` other than list, dict or set makes.
    """
    return field(default_factory=lambda: value, name=name)


def no_labels() -> dict[str, str]:
    """Default of `Labels`, which Docker always writes (msgspec would omit the plain `dict` factory)."""
    return {}


class Part(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True, gc=False):
    """Any piece of the vocabulary: Docker's JSON names, what has its default is omitted.

    The garbage collector need not know of them: a frozen value made of values is never part of a cycle. A store of
    100,000 tasks would keep it busy, and the event loop held, for seconds.
    """


class Spec(Part, frozen=True, kw_only=True):
    """User intent, never edited by the system."""

    name: str = ""
    labels: dict[str, str] = field(default_factory=no_labels)


class Annotations(Part, frozen=True, kw_only=True):
    name: str = ""
    labels: dict[str, str] = field(default_factory=no_labels)


class Version(Part, frozen=True, kw_only=True):
    """The raft index of the object's last write; an update must name the current one."""

    index: Uint = shown(0)


class Object(Part, frozen=True, kw_only=True):
    """What the store holds: an id, a version, timestamps, and in its subclasses a spec and what we add."""

    id: str = field(name="ID")
    version: Version = shown(Version())
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Driver(Part, frozen=True, kw_only=True):
    """A named plug-in with options: log, network, IPAM, volume and secret drivers, templating."""

    name: str = ""
    options: dict[str, str] = field(default_factory=dict)


class Platform(Part, frozen=True, kw_only=True):
    architecture: str = ""
    os: str = field(default="", name="OS")


def secretless(struct: Struct, *hidden: str) -> str:
    """A repr that may reach a log: the fields named `hidden` are left out."""

    def text(name: str) -> str:
        value: Any = getattr(struct, name)
        return f"{name}={'...' if name in hidden and value else repr(value)}"

    return f"{type(struct).__name__}({', '.join(text(name) for name in struct.__struct_fields__)})"
