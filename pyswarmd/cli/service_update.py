"""`service update`: its flags, and what they make of a service's spec."""

from __future__ import annotations

import argparse
from typing import Any

from pyswarmd.cli import joining, ports, units
from pyswarmd.cli.environment import environment
from pyswarmd.cli.service_flags import add_update_settings
from pyswarmd.cli.service_spec import update_settings
from pyswarmd.client import EngineClient, at
from swarmcore.errors import Invalid, NotFound

Spec = dict[str, Any]


def add_flags(update: argparse.ArgumentParser) -> None:
    many: dict[str, Any] = {"action": "append", "default": []}
    p = update.add_argument
    p("--image")
    p("--args", help="new arguments, split at spaces")
    p("--replicas", type=units.integer)
    for what in ("env", "label", "constraint", "dns", "dns-option", "dns-search", "host", "network"):
        p(f"--{what}-add", **many)
        p(f"--{what}-rm", **many)
    p("--publish-add", **many, metavar="PUBLISHED:TARGET")
    p("--publish-rm", **many, metavar="TARGET")
    p("--endpoint-mode", choices=("vip", "dnsrr"), default=None)
    add_update_settings(update)
    p("--force", action="store_true", help="replace the tasks though nothing changed")


async def changed(client: EngineClient, options: argparse.Namespace, service: dict[str, Any]) -> Spec:
    """The spec of `service` with what the flags say."""
    spec: Spec = service["Spec"]
    _container(options, spec)
    if options.replicas is not None:
        if "Replicated" not in spec["Mode"]:
            raise Invalid(f"service {options.service} is not in replicated mode", "only replicated scale")
        spec["Mode"] = {"Replicated": {"Replicas": options.replicas}}
    labels = {k: v for k, v in (spec.get("Labels") or {}).items() if k not in options.label_rm}
    spec["Labels"] = labels | units.pairs(options.label_add, "label")
    task = spec["TaskTemplate"]
    placement = task.setdefault("Placement", {}) or {}
    placement["Constraints"] = edit(
        placement.get("Constraints"), options.constraint_add, options.constraint_rm, key=False
    )
    task["Placement"] = placement
    for field, what in (("UpdateConfig", "update"), ("RollbackConfig", "rollback")):
        if given := update_settings(options, what):
            spec[field] = {"Parallelism": 1, **(spec.get(field) or {}), **given}
    _endpoint(options, spec)
    await _networks(client, options, spec)
    if options.force:
        task["ForceUpdate"] = task.get("ForceUpdate", 0) + 1
    return spec


def _container(options: argparse.Namespace, spec: Spec) -> None:
    container = spec["TaskTemplate"]["ContainerSpec"]
    if options.image:
        container["Image"] = options.image
    if options.args is not None:
        container["Args"] = options.args.split()
    container["Env"] = edit(container.get("Env"), environment(options.env_add, []), options.env_rm, key=True)
    container["Hosts"] = joining.edited_hosts(container.get("Hosts") or [], options.host_add, options.host_rm)
    old = container.get("DNSConfig") or {}
    dns = joining.dns(
        joining.without(old.get("Nameservers"), options.dns_add, options.dns_rm),
        joining.without(old.get("Search"), options.dns_search_add, options.dns_search_rm),
        joining.without(old.get("Options"), options.dns_option_add, options.dns_option_rm),
    )
    if dns or old:
        container["DNSConfig"] = dns


def _endpoint(options: argparse.Namespace, spec: Spec) -> None:
    endpoint = spec.get("EndpointSpec") or {}
    if options.endpoint_mode:
        endpoint["Mode"] = options.endpoint_mode
    if options.publish_add or options.publish_rm:
        endpoint["Ports"] = ports.edited(endpoint.get("Ports") or [], options.publish_add, options.publish_rm)
    if endpoint:
        spec["EndpointSpec"] = endpoint


async def _networks(client: EngineClient, options: argparse.Namespace, spec: Spec) -> None:
    if not options.network_add and not options.network_rm:
        return
    names = [joining.attachment(text)["Target"] for text in options.network_add]
    ids = {name: await network_id(client, name) for name in names}
    for name in options.network_rm:
        try:
            ids[name] = await network_id(client, name)
        except NotFound:
            ids[name] = name  # the network may be gone while the service still names it
    task = spec["TaskTemplate"]
    old = task.get("Networks") or spec.get("Networks") or []
    task["Networks"] = joining.edited_networks(
        old, options.network_add, options.network_rm, lambda name: ids[name]
    )
    spec.pop("Networks", None)  # the place of older versions of the API


async def network_id(client: EngineClient, name: str) -> str:
    return str((await client.get(at("networks", name), scope="swarm"))["Id"])


def edit(old: list[str] | None, added: list[str], removed: list[str], *, key: bool) -> list[str]:
    """The list without the removed items and with the added ones; `key`: compared up to the `=`."""

    def name(item: str) -> str:
        return item.partition("=")[0] if key else item

    gone = {name(item) for item in removed} | {name(item) for item in added}
    return [item for item in old or [] if name(item) not in gone] + added
