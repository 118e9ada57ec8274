"""`pyswarm network …`: the swarm's networks and this host's own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from pyswarmd.cli import ipam, network_check, render, units
from pyswarmd.cli.tasks import add_filters, query_filters
from pyswarmd.client import EngineClient, at
from swarmcore.errors import NotFound, SwarmError

COLUMNS = ("NETWORK ID", "NAME", "DRIVER", "SCOPE")
_PRUNE = "This removes all networks that no container and no service uses. Go on?"
_INGRESS = "{} is the routing mesh: without it no published port answers. Remove it?"


def add(commands: Any) -> None:
    group = commands.add_parser("network", help="manage networks").add_subparsers(
        required=True, metavar="COMMAND"
    )
    _add_create(group.add_parser("create", help="make a network"))

    ls = group.add_parser("ls", help="list networks")
    ls.add_argument("--no-trunc", action="store_true")
    add_filters(ls)
    ls.set_defaults(run=_ls)

    inspect = group.add_parser("inspect", help="show networks as JSON")
    inspect.add_argument("networks", nargs="+", metavar="NETWORK")
    inspect.add_argument("-f", "--format")
    inspect.add_argument("-v", "--verbose", action="store_true", help="with the services that answer on it")
    inspect.set_defaults(run=_inspect)

    rm = group.add_parser("rm", help="remove networks")
    rm.add_argument("networks", nargs="+", metavar="NETWORK")
    rm.add_argument("-f", "--force", action="store_true", help="no question; one that is gone is no fault")
    rm.set_defaults(run=_rm)

    prune = group.add_parser("prune", help="remove the networks that nobody uses")
    prune.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE")
    prune.add_argument("-f", "--force", action="store_true", help="no question")
    prune.set_defaults(run=_prune)

    network_check.add(group)
    _add_joins(group)


def _add_joins(group: Any) -> None:
    """A container of this host, and a network."""
    many: dict[str, Any] = {"action": "append", "default": []}
    connect = group.add_parser("connect", help="let a container of this host join a network")
    connect.add_argument("--alias", **many)
    connect.add_argument("--driver-opt", **many, metavar="KEY=VALUE")
    connect.add_argument("--ip", default="")
    connect.add_argument("--ip6", default="")
    connect.add_argument("--link", **many, metavar="CONTAINER[:ALIAS]")
    connect.add_argument("--link-local-ip", **many)
    connect.add_argument("network", metavar="NETWORK")
    connect.add_argument("container", metavar="CONTAINER")
    connect.set_defaults(run=_connect)

    disconnect = group.add_parser("disconnect", help="let a container of this host leave a network")
    disconnect.add_argument("-f", "--force", action="store_true")
    disconnect.add_argument("network", metavar="NETWORK")
    disconnect.add_argument("container", metavar="CONTAINER")
    disconnect.set_defaults(run=_disconnect)


def _add_create(create: argparse.ArgumentParser) -> None:
    """Docker's flags of `network create` (docker/cli reference, network_create.md)."""
    many: dict[str, Any] = {"action": "append", "default": []}
    p = create.add_argument
    p("-d", "--driver", default="", help="overlay, bridge (the default), macvlan, …")
    p("--subnet", **many, metavar="CIDR")
    p("--gateway", **many, metavar="ADDRESS")
    p("--ip-range", **many, metavar="CIDR", help="take addresses from this part of the subnet")
    p("--aux-address", **many, metavar="NAME=ADDRESS", help="an address that nobody gets")
    p("--attachable", action="store_true", help="containers outside of services may join")
    p("--internal", action="store_true", help="no way out of the swarm")
    p("--ipv6", action="store_true", help="IPv6 beside IPv4")
    p("--label", **many, metavar="KEY=VALUE")
    p("-o", "--opt", **many, metavar="KEY=VALUE", help="option of the driver")
    p("--scope", default="", choices=("local", "swarm"))
    p("--ingress", action="store_true", help="the routing mesh's own network")
    p("--config-only", action="store_true", help="only keep settings, for --config-from")
    p("--config-from", default="", metavar="NETWORK", help="take the settings of that network")
    p("--ipam-driver", default="default")
    p("--ipam-opt", **many, metavar="KEY=VALUE")
    p("name", metavar="NETWORK")
    create.set_defaults(run=_create)


def _split(items: Iterable[str]) -> list[str]:
    return [part for item in items for part in item.split(",") if part]


def request(options: argparse.Namespace) -> dict[str, Any]:
    """The body of POST /networks/create."""
    overlay = options.ingress or (options.scope == "swarm" and not options.config_from)
    body: dict[str, Any] = {
        "Name": options.name,
        "CheckDuplicate": True,
        "Driver": options.driver or ("overlay" if overlay else "bridge"),
        "Scope": options.scope,
        "EnableIPv6": options.ipv6,
        "Internal": options.internal,
        "Attachable": options.attachable,
        "Ingress": options.ingress,
        "ConfigOnly": options.config_only,
        "Options": units.pairs(options.opt, "option"),
        "Labels": units.pairs(options.label, "label"),
        "IPAM": {
            "Driver": options.ipam_driver,
            "Options": units.pairs(options.ipam_opt, "IPAM option"),
            "Config": ipam.pools(
                _split(options.subnet),
                _split(options.ip_range),
                _split(options.gateway),
                _split(options.aux_address),
            ),
        },
    }
    return body | ({"ConfigFrom": {"Network": options.config_from}} if options.config_from else {})


async def _create(client: EngineClient, options: argparse.Namespace) -> None:
    created = await client.post("/networks/create", request(options))
    if created.get("Warning"):
        render.note(f"warning: {created['Warning']}")
    render.out(created["Id"])


async def _ls(client: EngineClient, options: argparse.Namespace) -> None:
    networks = await client.get("/networks", filters=query_filters(options.filter))
    rows = [
        {
            "NETWORK ID": render.short(network["Id"], whole=options.no_trunc),
            "NAME": network["Name"],
            "DRIVER": network["Driver"],
            "SCOPE": network["Scope"],
            "IPv6": str(network["EnableIPv6"]).lower(),
            "INTERNAL": str(network["Internal"]).lower(),
            "LABELS": ",".join(f"{k}={v}" for k, v in sorted((network.get("Labels") or {}).items())),
            "CREATED AT": network["Created"],
        }
        for network in sorted(networks, key=lambda network: str(network["Name"]))
    ]
    if options.quiet:
        for row in rows:
            render.out(row["NETWORK ID"])
    else:
        render.table(rows, COLUMNS, options.format)


async def _inspect(client: EngineClient, options: argparse.Namespace) -> None:
    query = {"verbose": "true"} if options.verbose else {}
    render.inspect(
        [await client.get(at("networks", name), **query) for name in options.networks], options.format
    )


async def _rm(client: EngineClient, options: argparse.Namespace) -> int:
    failed = 0
    for name in options.networks:
        try:
            network = await client.get(at("networks", name))
            if network["Ingress"] and not options.force and not render.confirmed(_INGRESS.format(name)):
                failed = 1
                continue
            await client.delete(at("networks", network["Id"]))
        except NotFound as error:
            if not options.force:
                failed = _fault(error)
        except SwarmError as error:
            failed = _fault(error)
        else:
            render.out(name)
    return failed


def _fault(error: SwarmError) -> int:
    print(f"pyswarm: {error}", file=sys.stderr)
    return 1


async def _prune(client: EngineClient, options: argparse.Namespace) -> int:
    if not options.force and not render.confirmed(_PRUNE):
        return 1
    answer = await client.post("/networks/prune", filters=query_filters(options.filter))
    if deleted := answer.get("NetworksDeleted"):
        render.out("Deleted Networks:")
        for name in deleted:
            render.out(name)
    return 0


async def _connect(client: EngineClient, options: argparse.Namespace) -> None:
    addresses: dict[str, Any] = {"IPv4Address": options.ip, "IPv6Address": options.ip6}
    addresses = {key: value for key, value in addresses.items() if value}
    if options.link_local_ip:
        addresses["LinkLocalIPs"] = options.link_local_ip
    settings = {
        "Aliases": options.alias,
        "Links": options.link,
        "DriverOpts": units.pairs(options.driver_opt, "driver option"),
    } | ({"IPAMConfig": addresses} if addresses else {})
    body = {"Container": options.container, "EndpointConfig": settings}
    await client.post(at("networks", options.network, "connect"), body)


async def _disconnect(client: EngineClient, options: argparse.Namespace) -> None:
    body = {"Container": options.container, "Force": options.force}
    await client.post(at("networks", options.network, "disconnect"), body)
