"""From what a user typed to the object: full id, else exact name, else unique prefix of an id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from manager.store.tables import Reader
from swarmcore.errors import Invalid, NotFound
from swarmcore.model.base import Object
from swarmcore.model.naming import task_name
from swarmcore.model.network import Network
from swarmcore.model.task import Task

O = TypeVar("O", bound=Object)  # noqa: E741


def lookup(table: Reader[O], text: str, kind: str) -> O:
    """The one object that `text` means; NotFound or (when several fit) Invalid names it."""
    if (exact := table.get(text)) is not None:
        return exact
    return _only(table.find("name", text), text, kind, "name") or _by_prefix(table, text, kind)


def lookup_task(table: Reader[Task], text: str) -> Task:
    """Tasks have no stored name: `web.1.<id>` is made of what they are."""
    if (exact := table.get(text)) is not None:
        return exact
    named = tuple(task for task in table if task_name(task) == text)
    return _only(named, text, "task", "name") or _by_prefix(table, text, "task")


def lookup_network(table: Reader[Network], text: str) -> Network:
    """As `lookup`; one that is removed and only waits for its last task is not found."""
    exact = table.get(text)
    if exact is not None and not exact.pending_delete:
        return exact
    fitting = (network for network in table if network.id.startswith(text) and not network.pending_delete)
    found = _only(table.find("name", text), text, "network", "name")
    found = found or _only(tuple(fitting if text else ()), text, "network", "id prefix")
    if found is None:
        raise NotFound(f"network {text} not found")
    return found


def _by_prefix(table: Reader[O], text: str, kind: str) -> O:
    fitting = (obj for obj in table if obj.id.startswith(text)) if text else ()
    found = _only(tuple(fitting), text, kind, "id prefix")
    if found is None:
        raise NotFound(f"{kind} {text} not found")
    return found


def _only(found: Iterable[O], text: str, kind: str, by: str) -> O | None:
    first, *more = [*found, None]
    if any(more):
        raise Invalid(f"{kind} {text} is ambiguous: several have this {by}", hint="give the full id")
    return first
