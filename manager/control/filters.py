"""Which objects a list shows: values of one key are OR-ed, keys are AND-ed, as Docker does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from manager.control.lookup import lookup
from manager.control.status import is_up_to_date
from manager.store.tables import Tables
from swarmcore.aio import STRETCH, Turns, at_once, stretches
from swarmcore.errors import Invalid
from swarmcore.model.base import Object
from swarmcore.model.naming import task_name
from swarmcore.model.node import Node
from swarmcore.model.secret import Config, Secret
from swarmcore.model.service import Service
from swarmcore.model.task import RuntimeType, Task, TaskState
from swarmcore.text.booleans import boolean
from swarmcore.text.labels import has_label

O = TypeVar("O", bound=Object)  # noqa: E741
Filters = Mapping[str, Sequence[str]]


def has_prefix(text: str, values: Sequence[str]) -> bool:
    return any(text.startswith(value) for value in values)


Check = Callable[[O, Sequence[str]], bool]


def _select(objects: Iterable[O], checks: Mapping[str, Check[O]], wanted: Filters) -> Iterator[O]:
    """A key without values asks for nothing, as in Docker."""
    tests = tuple((checks[key], values) for key, values in wanted.items() if values)
    return (obj for obj in objects if all(check(obj, values) for check, values in tests))


def nodes(view: Tables, wanted: Filters) -> Iterator[Node]:
    checks: dict[str, Check[Node]] = {
        "id": lambda n, v: has_prefix(n.id, v),
        "name": lambda n, v: has_prefix(n.description.hostname if n.description else "", v),
        "label": lambda n, v: has_label(n.description.engine.labels if n.description else {}, v),
        "node.label": lambda n, v: has_label(n.spec.labels, v),
        "role": lambda n, v: n.role in v,
        "membership": lambda n, v: n.membership in v,
    }
    _check_values(wanted, "role", ("manager", "worker"))
    _check_values(wanted, "membership", ("accepted", "pending"))
    return _select(view.nodes, checks, wanted)


def services(view: Tables, wanted: Filters) -> Iterator[Service]:
    checks: dict[str, Check[Service]] = {
        "id": lambda s, v: has_prefix(s.id, v),
        "name": lambda s, v: has_prefix(s.spec.name, v),
        "label": lambda s, v: has_label(s.spec.labels, v),
        "mode": lambda s, v: s.spec.mode.name in v,
        "runtime": lambda s, v: (s.spec.task_template.runtime or "container") in v,
    }
    _check_values(wanted, "mode", ("replicated", "global", "replicated-job", "global-job"))
    return _select(view.services, checks, wanted)


def tasks(view: Tables, wanted: Filters) -> list[Task]:
    return at_once(tasks_in_turns(view, wanted))


def tasks_in_turns(view: Tables, wanted: Filters) -> Turns[list[Task]]:
    """Names of services and nodes are resolved to ids; an unknown one is NotFound.

    Containers outside of services are shown only where the filter `runtime` asks for them, as Docker does.
    """
    wanted = {**wanted, "runtime": wanted.get("runtime") or (RuntimeType.CONTAINER,)}
    owners = {lookup(view.services, text, "service").id for text in wanted.get("service", ())}
    places = {lookup(view.nodes, text, "node").id for text in wanted.get("node", ())}
    states = {_desired(text) for text in wanted.get("desired-state", ())}
    fresh = {boolean(value, "filter _up-to-date") for value in wanted.get("_up-to-date", ())}
    checks: dict[str, Check[Task]] = {
        "id": lambda t, v: has_prefix(t.id, v),
        "name": lambda t, v: has_prefix(task_name(t), v),
        "label": lambda t, v: has_label(t.service_annotations.labels, v),
        "service": lambda t, v: t.service_id in owners,
        "node": lambda t, v: t.node_id in places,
        "desired-state": lambda t, v: t.desired_state in states,
        "runtime": lambda t, v: (t.spec.runtime or "container") in v,
        "_up-to-date": lambda t, v: is_up_to_date(view, t) in fresh,
    }
    found: Iterable[Task] = view.tasks
    if len(owners) == 1:
        found = view.tasks.find("service_id", next(iter(owners)))
    elif len(places) == 1:
        found = view.tasks.find("node_id", next(iter(places)))
    chosen: list[Task] = []
    for part in stretches(found):
        chosen += _select(part, checks, wanted)
        if len(part) == STRETCH:
            yield
    return chosen


def secrets(view: Tables, wanted: Filters) -> Iterator[Secret]:
    return _named(view.secrets, wanted)


def configs(view: Tables, wanted: Filters) -> Iterator[Config]:
    return _named(view.configs, wanted)


N = TypeVar("N", Secret, Config)


def _named(table: Iterable[N], wanted: Filters) -> Iterator[N]:
    """Ids and names are OR-ed with each other, then the labels."""
    keys = [key for key in ("id", "name", "names") if wanted.get(key)]
    for obj in table:
        hits = {
            "id": has_prefix(obj.id, wanted.get("id", ())),
            "name": has_prefix(obj.spec.name, wanted.get("name", ())),
            "names": obj.spec.name in wanted.get("names", ()),
        }
        if (not keys or any(hits[key] for key in keys)) and has_label(
            obj.spec.labels, wanted.get("label", ())
        ):
            yield obj


def _desired(text: str) -> TaskState:
    try:
        return TaskState[text.upper()]
    except KeyError:
        raise Invalid(f"invalid desired state {text!r}", 'use "running", "shutdown" or "accepted"') from None


def _check_values(wanted: Filters, key: str, known: Sequence[str]) -> None:
    for value in wanted.get(key, ()):
        if value not in known:
            raise Invalid(f"invalid {key} {value!r}", f"known are {', '.join(known)}")
