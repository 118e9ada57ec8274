"""Tasks of one service hold one spec in memory, not a copy each: a hundred thousand replicas are a hundred thousand
small objects, and what is made of a spec can be kept beside it.
"""

from __future__ import annotations

from typing import Any

from swarmcore.model.base import Object
from swarmcore.model.service import Service
from swarmcore.model.task import Task

_PARTS = ("spec", "service_annotations", "endpoint")


def shared_parts(new: Object, old: Object | None, service: Service | None) -> dict[str, Any]:
    """Parts of the task `new` that equal ones which are there already (`old`'s, or its service's), to be replaced."""
    if not isinstance(new, Task):
        return {}
    if isinstance(old, Task):
        return {name: there for name in _PARTS if _equal(there := getattr(old, name), getattr(new, name))}
    found: dict[str, Any] = {}
    if service is not None:
        if _equal(service.spec.task_template, new.spec):
            found["spec"] = service.spec.task_template
        if _equal(service.endpoint, new.endpoint):
            found["endpoint"] = service.endpoint
    return found


def _equal(there: object, new: object) -> bool:
    return there is not new and there == new
