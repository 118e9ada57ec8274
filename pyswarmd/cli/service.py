"""`pyswarm service …`: what the swarm shall run."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pyswarmd.cli import ports, render, service_update
from pyswarmd.cli.progress import wait_converged
from pyswarmd.cli.service_flags import add_flags
from pyswarmd.cli.service_logs import print_logs
from pyswarmd.cli.service_pretty import print_pretty
from pyswarmd.cli.service_spec import spec
from pyswarmd.cli.tasks import add_filters, print_tasks, query_filters
from pyswarmd.client import EngineClient, at
from swarmcore.errors import Invalid, SwarmError
from swarmcore.text.patterns import ASCII, Pattern

_SCALE = Pattern(r"([^=]+)=(\d{1,20})", 300, ASCII)
COLUMNS = ("ID", "NAME", "MODE", "REPLICAS", "IMAGE", "PORTS")


def add(commands: Any) -> None:
    group = commands.add_parser("service", help="manage services").add_subparsers(
        required=True, metavar="COMMAND"
    )
    create = group.add_parser("create", help="create a service")
    add_flags(create)
    create.add_argument("-d", "--detach", action="store_true", help="do not wait until it runs")
    create.add_argument("-q", "--quiet", action="store_true", help="no progress")
    create.add_argument("image", metavar="IMAGE")
    create.add_argument("args", nargs=argparse.REMAINDER, metavar="COMMAND")
    create.set_defaults(run=_create)

    _add_lists(group)
    _add_changes(group)
    _add_ends(group)


def _add_lists(group: Any) -> None:
    ls = group.add_parser("ls", help="list services")
    add_filters(ls)
    ls.set_defaults(run=_ls)

    ps = group.add_parser("ps", help="list the tasks of services")
    ps.add_argument("services", nargs="+", metavar="SERVICE")
    ps.add_argument("--no-trunc", action="store_true")
    add_filters(ps)
    ps.set_defaults(run=_ps)

    inspect = group.add_parser("inspect", help="show services as JSON")
    inspect.add_argument("services", nargs="+", metavar="SERVICE")
    inspect.add_argument("-f", "--format")
    inspect.add_argument("--pretty", action="store_true", help="for reading")
    inspect.set_defaults(run=_inspect)


def _add_changes(group: Any) -> None:
    scale = group.add_parser("scale", help="change the number of replicas")
    scale.add_argument("targets", nargs="+", metavar="SERVICE=REPLICAS")
    scale.add_argument("-d", "--detach", action="store_true")
    scale.set_defaults(run=_scale)

    update = group.add_parser("update", help="change a service")
    update.add_argument("service")
    service_update.add_flags(update)
    update.add_argument("-d", "--detach", action="store_true")
    update.set_defaults(run=_update)

    rollback = group.add_parser("rollback", help="go back to the spec before the last update")
    rollback.add_argument("service")
    rollback.add_argument("-d", "--detach", action="store_true")
    rollback.set_defaults(run=_rollback)


def _add_ends(group: Any) -> None:
    """What services said, and their removal."""
    logs = group.add_parser("logs", help="show the output of a service's tasks or of one task")
    logs.add_argument("service", metavar="SERVICE|TASK")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-n", "--tail", default="all")
    logs.add_argument("--since", default="")
    logs.add_argument("-t", "--timestamps", action="store_true")
    logs.add_argument("--raw", action="store_true", help="no task names before the lines")
    logs.set_defaults(run=print_logs)

    rm = group.add_parser("rm", help="remove services")
    rm.add_argument("services", nargs="+", metavar="SERVICE")
    rm.set_defaults(run=_rm)


async def _create(client: EngineClient, options: argparse.Namespace) -> None:
    created = await client.post("/services/create", spec(options))
    for warning in created.get("Warnings") or []:
        render.note(f"warning: {warning}")
    render.out(created["ID"])
    if not options.detach:
        await wait_converged(client, created["ID"], quiet=options.quiet)


def _mode(service: dict[str, Any]) -> str:
    names = {"Replicated": "replicated", "Global": "global"}
    names |= {"ReplicatedJob": "replicated-job", "GlobalJob": "global-job"}
    return next((text for key, text in names.items() if key in service["Spec"]["Mode"]), "replicated")


async def _ls(client: EngineClient, options: argparse.Namespace) -> None:
    services = await client.get("/services", status="true", filters=query_filters(options.filter))
    rows = []
    for service in sorted(services, key=lambda s: s["Spec"]["Name"]):
        status = service.get("ServiceStatus") or {}
        limit = (service["Spec"]["TaskTemplate"].get("Placement") or {}).get("MaxReplicas", 0)
        replicas = f"{status.get('RunningTasks', 0)}/{status.get('DesiredTasks', 0)}"
        rows.append(
            {
                "ID": render.short(service["ID"], whole=False),
                "NAME": service["Spec"]["Name"],
                "MODE": _mode(service),
                "REPLICAS": replicas + (f" (max {limit} per node)" if limit else ""),
                "IMAGE": service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"],
                "PORTS": ports.of_service((service.get("Endpoint") or {}).get("Ports") or []),
            }
        )
    if options.quiet:
        for row in rows:
            render.out(row["ID"])
    else:
        render.table(rows, COLUMNS, options.format)


async def _ps(client: EngineClient, options: argparse.Namespace) -> None:
    services = [(await client.get(at("services", name)))["ID"] for name in options.services]
    tasks = await client.get("/tasks", filters=query_filters(options.filter, service=services))
    await print_tasks(client, tasks, options)


async def _inspect(client: EngineClient, options: argparse.Namespace) -> None:
    if options.pretty and options.format:
        raise Invalid("--pretty and --format are two ways to show a service", "use one of them")
    services = [await client.get(at("services", name)) for name in options.services]
    if not options.pretty:
        render.inspect(services, options.format)
        return
    for number, service in enumerate(services):
        if number:
            render.out()
        await print_pretty(client, service)


async def _post_update(client: EngineClient, service: dict[str, Any], body: Any, **query: str) -> None:
    answer = await client.json(
        "POST",
        at("services", service["ID"], "update"),
        body=body,
        query={"version": service["Version"]["Index"], **query},
    )
    for warning in (answer or {}).get("Warnings") or []:
        render.note(f"warning: {warning}")


async def _scale(client: EngineClient, options: argparse.Namespace) -> None:
    wanted: list[tuple[dict[str, Any], int]] = []
    for target in options.targets:
        match = _SCALE.fullmatch(target)
        if match is None:
            raise Invalid(f"invalid scale {target!r}", "write it like web=10")
        service = await client.get(at("services", match[1]))
        if "Replicated" not in service["Spec"]["Mode"]:
            raise Invalid(f"service {match[1]} is in {_mode(service)} mode", "only replicated services scale")
        wanted.append((service, int(match[2])))
    for service, replicas in wanted:
        body = {**service["Spec"], "Mode": {"Replicated": {"Replicas": replicas}}}
        await _post_update(client, service, body)
        render.out(f"{service['Spec']['Name']} scaled to {replicas}")
    if not options.detach:
        for service, _ in wanted:
            await wait_converged(client, service["ID"])


async def _update(client: EngineClient, options: argparse.Namespace) -> None:
    service = await client.get(at("services", options.service))
    body = await service_update.changed(client, options, service)
    await _post_update(client, service, body)
    render.out(options.service)
    if not options.detach:
        await wait_converged(client, service["ID"])


async def _rollback(client: EngineClient, options: argparse.Namespace) -> None:
    service = await client.get(at("services", options.service))
    await _post_update(client, service, service["Spec"], rollback="previous")
    render.out(options.service)
    if not options.detach:
        await wait_converged(client, service["ID"], rollback=True)


async def _rm(client: EngineClient, options: argparse.Namespace) -> int:
    failed = 0
    for name in options.services:
        try:
            await client.delete(at("services", name))
        except SwarmError as error:
            print(f"pyswarm: {error}", file=sys.stderr)
            failed = 1
        else:
            render.out(name)
    return failed
