"""`pyswarm node …`: the members of the swarm."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from pyswarmd.cli import render, units
from pyswarmd.cli.resolve import node_id
from pyswarmd.cli.tasks import add_filters, print_tasks, query_filters
from pyswarmd.client import EngineClient, at, filters
from swarmcore.errors import Invalid, Unavailable

COLUMNS = ("ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS", "ENGINE VERSION")


def add(commands: Any) -> None:
    group = commands.add_parser("node", help="manage nodes").add_subparsers(required=True, metavar="COMMAND")

    ls = group.add_parser("ls", help="list the nodes")
    add_filters(ls)
    ls.set_defaults(run=_ls)

    inspect = group.add_parser("inspect", help="show nodes as JSON")
    inspect.add_argument("nodes", nargs="+", metavar="NODE")
    inspect.add_argument("-f", "--format")
    inspect.set_defaults(run=_inspect)

    ps = group.add_parser("ps", help="list the tasks of nodes")
    ps.add_argument("nodes", nargs="*", default=["self"], metavar="NODE")
    ps.add_argument("--no-trunc", action="store_true")
    add_filters(ps)
    ps.set_defaults(run=_ps)

    update = group.add_parser("update", help="change a node")
    update.add_argument("node")
    update.add_argument("--availability", choices=("active", "pause", "drain"))
    update.add_argument("--role", choices=("worker", "manager"))
    update.add_argument("--label-add", action="append", default=[], metavar="KEY=VALUE")
    update.add_argument("--label-rm", action="append", default=[], metavar="KEY")
    update.set_defaults(run=_update)

    for name, role in (("promote", "manager"), ("demote", "worker")):
        change = group.add_parser(name, help=f"make nodes {role}s")
        change.add_argument("nodes", nargs="+", metavar="NODE")
        change.set_defaults(run=_change_role, role=role)

    rm = group.add_parser("rm", help="remove nodes from the swarm")
    rm.add_argument("nodes", nargs="+", metavar="NODE")
    rm.add_argument("-f", "--force", action="store_true")
    rm.set_defaults(run=_rm)


async def _ls(client: EngineClient, options: argparse.Namespace) -> None:
    nodes = await client.get("/nodes", filters=query_filters(options.filter))
    own = (await client.get("/info"))["Swarm"]["NodeID"]
    rows = [_row(n, own) for n in sorted(nodes, key=lambda n: n["Description"].get("Hostname", ""))]
    if options.quiet:
        for node in rows:
            render.out(node["ID"].removesuffix(" *"))
        return
    render.table(rows, COLUMNS, options.format)
    for node in nodes:
        if message := node["Status"].get("Message"):
            render.note(f"{node['Description'].get('Hostname') or node['ID']}: {message}")


def _row(node: dict[str, Any], own: str) -> dict[str, str]:
    manager = node.get("ManagerStatus") or {}
    description = node.get("Description") or {}
    standing = "Leader" if manager.get("Leader") else manager.get("Reachability", "").capitalize()
    return {
        "ID": node["ID"] + (" *" if node["ID"] == own else ""),
        "HOSTNAME": description.get("Hostname", ""),
        "STATUS": node["Status"]["State"].capitalize(),
        "AVAILABILITY": node["Spec"]["Availability"].capitalize(),
        "MANAGER STATUS": standing,
        "ENGINE VERSION": (description.get("Engine") or {}).get("EngineVersion", ""),
    }


async def _inspect(client: EngineClient, options: argparse.Namespace) -> None:
    ids = [await node_id(client, name) for name in options.nodes]
    render.inspect([await client.get(at("nodes", i)) for i in ids], options.format)


async def _ps(client: EngineClient, options: argparse.Namespace) -> None:
    ids = [await node_id(client, name) for name in options.nodes]
    tasks = await client.get("/tasks", filters=query_filters(options.filter, node=ids))
    await print_tasks(client, tasks, options)


async def _change(client: EngineClient, name: str, change: dict[str, Any]) -> None:
    wanted = await node_id(client, name)
    node = await client.get(at("nodes", wanted))
    await client.json(
        "POST",
        at("nodes", wanted, "update"),
        body={**node["Spec"], **change},
        query={"version": node["Version"]["Index"]},
    )


async def _update(client: EngineClient, options: argparse.Namespace) -> None:
    change: dict[str, Any] = {}
    if options.availability:
        change["Availability"] = options.availability
    if options.role:
        change["Role"] = options.role
    if options.label_add or options.label_rm:
        node = await client.get(at("nodes", await node_id(client, options.node)))
        labels = {k: v for k, v in (node["Spec"].get("Labels") or {}).items() if k not in options.label_rm}
        change["Labels"] = labels | units.pairs(options.label_add, "label")
    if not change:
        raise Invalid("nothing to update", "name --availability, --role, --label-add or --label-rm")
    await _change(client, options.node, change)
    render.out(options.node)


async def _change_role(client: EngineClient, options: argparse.Namespace) -> None:
    ids = [(name, await node_id(client, name)) for name in options.nodes]
    own = (await client.get("/info"))["Swarm"]["NodeID"]
    # This node last: once it is no manager, nobody answers for the others here.
    for name, wanted in sorted(ids, key=lambda pair: pair[1] == own):
        node = await client.get(at("nodes", wanted))
        verb = "promoted" if options.role == "manager" else "demoted"
        if node["Spec"]["Role"] == options.role:
            render.out(f"Node {name} is already a {options.role}.")
            continue
        await _change(client, name, {"Role": options.role})
        await _wait_role(client, wanted, options.role, of_this_node=wanted == own)
        direction = "to a manager in" if options.role == "manager" else "in"
        render.out(f"Node {name} {verb} {direction} the swarm.")


async def _wait_role(
    client: EngineClient, wanted: str, role: str, *, of_this_node: bool = False, seconds: float = 20.0
) -> None:
    """Return when raft has taken the node in (or out), and this very node's daemon has followed.

    Meanwhile this manager may have no leader to ask, and it is none any more once its own demotion is done.
    """
    check = _own_role_is if of_this_node else _role_is
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await check(client, wanted, manager=role == "manager"):
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        render.note("the change of role is accepted and goes on in the background")


async def _role_is(client: EngineClient, wanted: str, *, manager: bool) -> bool:
    try:
        found = await client.get("/nodes", filters=filters(id=[wanted]))
    except Unavailable:
        return False
    return not found or bool(found[0].get("ManagerStatus")) == manager


async def _own_role_is(client: EngineClient, wanted: str, *, manager: bool) -> bool:
    swarm = (await client.get("/info"))["Swarm"]
    if bool(swarm["ControlAvailable"]) != manager:
        return False
    return not manager or await _role_is(client, wanted, manager=True)


async def _rm(client: EngineClient, options: argparse.Namespace) -> None:
    for name in options.nodes:
        await client.delete(at("nodes", await node_id(client, name)), force=str(options.force).lower())
        render.out(name)
