"""Tasks as people see them: `service ps` and `node ps`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pyswarmd.cli import ports, render
from pyswarmd.cli.resolve import Names
from pyswarmd.client import EngineClient
from swarmcore.errors import Invalid

COLUMNS = ("ID", "NAME", "IMAGE", "NODE", "DESIRED STATE", "CURRENT STATE", "ERROR", "PORTS")


def add_filters(parser: argparse.ArgumentParser) -> None:
    """The flags that all lists share."""
    parser.add_argument("-f", "--filter", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--format", help="template such as '{{.ID}} {{.Name}}', or json")
    parser.add_argument("-q", "--quiet", action="store_true", help="only ids")


def query_filters(typed: list[str], **more: list[str]) -> str:
    found: dict[str, list[str]] = {k.replace("_", "-"): list(v) for k, v in more.items()}
    for item in typed:
        key, sign, value = item.partition("=")
        if not key or not sign:
            raise Invalid(f"invalid filter {item!r}", "write it like name=web or label=key=value")
        found.setdefault(key, []).append(value)
    return json.dumps(found)


async def print_tasks(client: EngineClient, tasks: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Newest task of each slot first, its predecessors indented below it."""
    names = Names(client)
    services = {s["ID"]: s["Spec"]["Name"] for s in await client.get("/services")}
    rows: list[dict[str, str]] = []
    previous = ""
    for task in sorted(tasks, key=lambda t: _order(t, services)):
        name = _name(task, services)
        error = task["Status"].get("Err") or ""
        if not options.no_trunc and len(error) > 30:
            error = error[:29] + "…"
        state = task["Status"]["State"].capitalize()
        rows.append(
            {
                "ID": render.short(task["ID"], whole=options.no_trunc),
                "NAME": f" \\_ {name}" if name == previous else name,
                "IMAGE": (task["Spec"].get("ContainerSpec") or {}).get("Image", ""),
                "NODE": await names.node(task.get("NodeID", "")),
                "DESIRED STATE": task["DesiredState"].capitalize(),
                "CURRENT STATE": f"{state} {render.age(task['Status']['Timestamp'])}",
                "ERROR": f'"{error}"' if error else "",
                "PORTS": ports.of_task((task["Status"].get("PortStatus") or {}).get("Ports") or []),
            }
        )
        previous = name
    if options.quiet:
        for row in rows:
            render.out(row["ID"])
    else:
        render.table(rows, COLUMNS, options.format)


def _name(task: dict[str, Any], services: dict[str, str]) -> str:
    service = services.get(task["ServiceID"], task["ServiceID"])
    return f"{service}.{task.get('Slot') or task.get('NodeID')}"


def _order(task: dict[str, Any], services: dict[str, str]) -> tuple[str, int, str, float]:
    service = services.get(task["ServiceID"], task["ServiceID"])
    created = render.parse_time(task["CreatedAt"]).timestamp()
    return service, task.get("Slot") or 0, task.get("NodeID") or "" if not task.get("Slot") else "", -created
