"""Waiting until a service has what its spec wants, telling how far it is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from pyswarmd.cli.render import note
from pyswarmd.client import EngineClient, filters
from swarmcore.clock import monotonic
from swarmcore.errors import FailedPrecondition

_POLL = 0.1  # seconds; the API has no feed of tasks
_MANY = 1_000  # tasks: so many are not listed again and again


async def wait_converged(
    client: EngineClient,
    service: str,
    *,
    quiet: bool = False,
    rollback: bool = False,
    clock: Callable[[], float] = monotonic,
) -> None:
    """Return when as many tasks of the current spec run as wanted; Ctrl-C leaves the service as it is.

    Raises if the update paused, or was rolled back though that is not what was asked for (`rollback`).
    """
    shown = undone = ""
    try:
        while True:
            began = clock()
            found = await client.get("/services", status="true", filters=filters(id=[service]))
            if not found:
                return
            text, enough = await _count(client, found[0], service)
            if not quiet and text != shown:
                note(text)
                shown = text
            status = found[0].get("UpdateStatus") or {}
            update, why = status.get("State", "completed"), status.get("Message", "")
            name = found[0]["Spec"]["Name"]
            if update in ("paused", "rollback_paused"):
                raise FailedPrecondition(f"service {name}: {why}", f'see "pyswarm service ps {name}"')
            if update == "rollback_started" and not rollback:
                undone = why
            if enough and update not in ("updating", "rollback_started"):
                if undone:
                    raise FailedPrecondition(f"service {name}: {undone}", f'see "pyswarm service ps {name}"')
                return
            # A manager that needs long for its answers is not asked all the time.
            await asyncio.sleep(max(_POLL, clock() - began))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("the service goes on in the background", file=sys.stderr)
        raise


async def _count(client: EngineClient, found: dict[str, Any], service: str) -> tuple[str, bool]:
    """How far it is, as a line, and whether as many tasks of the current spec run as wanted."""
    status = found.get("ServiceStatus") or {}
    running, desired = status.get("RunningTasks", 0), status.get("DesiredTasks", 0)
    few = desired <= _MANY
    fresh = await _up_to_date(client, service) if few or running == desired else running
    text = f"{found['Spec']['Name']}: {fresh}/{desired} running"
    if few and (errors := await _errors(client, service)):
        text += f" ({errors})"
    return text, running == desired == fresh


async def _tasks(client: EngineClient, service: str, **more: list[str]) -> list[dict[str, Any]]:
    return list(await client.get("/tasks", filters=filters(service=[service], **more)))


async def _up_to_date(client: EngineClient, service: str) -> int:
    tasks = await _tasks(client, service, desired_state=["running"], _up_to_date=["true"])
    return sum(1 for task in tasks if task["Status"]["State"] == "running")


async def _errors(client: EngineClient, service: str) -> str:
    """Why the newest task that does not run does not; empty when all slots are fine."""
    newest: dict[int, dict[str, Any]] = {}
    for task in sorted(await _tasks(client, service), key=lambda task: str(task["CreatedAt"])):
        if task["DesiredState"] != "remove":
            newest[task["Slot"]] = task if _tells(task) else newest.get(task["Slot"], task)
    for task in newest.values():
        if task["Status"]["State"] != "running" and task["Status"].get("Err"):
            return str(task["Status"]["Err"])
    return ""


def _tells(task: dict[str, Any]) -> bool:
    """A successor that has only just been made does not hide why it was needed."""
    return task["Status"]["State"] == "running" or bool(task["Status"].get("Err"))
