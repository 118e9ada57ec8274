"""The placeholders of one task: in its container spec, and in templated secrets and configs."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from swarmcore.errors import Invalid
from swarmcore.model.node import NodeDescription
from swarmcore.model.task import Task
from swarmcore.template.container import expand_container, scope_of
from swarmcore.template.expand import Function, Scope, expand


def expand_task(task: Task, description: NodeDescription | None) -> Task:
    """The task with placeholders of its container spec filled in; the same object if it has none."""
    spec = task.spec.container_spec
    if spec is None:
        return task
    expanded = expand_container(spec, scope_of(task, description))
    if expanded == spec:
        return task
    return replace(task, spec=replace(task.spec, container_spec=expanded))


def expand_payload(data: bytes, scope: Scope, functions: Mapping[str, Function], what: str) -> bytes:
    """A secret's or config's content with `templating`; must then be text."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{what} is templated but is not UTF-8 text") from error
    return expand(text, scope, functions).encode()
