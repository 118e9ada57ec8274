"""`service inspect --pretty`: a service as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyswarmd.cli import render
from pyswarmd.client import EngineClient, at
from swarmcore.errors import NotFound

_MODES = {
    "Replicated": "Replicated",
    "Global": "Global",
    "ReplicatedJob": "ReplicatedJob",
    "GlobalJob": "GlobalJob",
}


async def print_pretty(client: EngineClient, service: dict[str, Any]) -> None:
    wanted = service["Spec"]["TaskTemplate"].get("Networks") or service["Spec"].get("Networks") or []
    ids = [one["Target"] for one in wanted]
    ids += [vip["NetworkID"] for vip in (service.get("Endpoint") or {}).get("VirtualIPs") or []]
    names = {network: await _network(client, network) for network in dict.fromkeys(ids)}
    for line in lines(service, names):
        render.out(line)


async def _network(client: EngineClient, network: str) -> str:
    try:
        return str((await client.get(at("networks", network)))["Name"])
    except NotFound:
        return network


def lines(service: dict[str, Any], networks: dict[str, str]) -> Iterator[str]:
    """`networks` are names by id."""
    spec = service["Spec"]
    task = spec["TaskTemplate"]
    yield _line("ID", service["ID"])
    yield _line("Name", spec["Name"])
    if spec.get("Labels"):
        yield "Labels:"
        yield from (f" {key}={value}" for key, value in sorted(spec["Labels"].items()))
    mode = next((key for key in _MODES if key in (spec.get("Mode") or {})), "Replicated")
    yield _line("Service Mode", _MODES[mode])
    if mode == "Replicated":
        yield _line(" Replicas", (spec["Mode"].get("Replicated") or {}).get("Replicas", 1))
    yield from _update(service.get("UpdateStatus"))
    yield from _placement(task.get("Placement") or {})
    for field in ("UpdateConfig", "RollbackConfig"):
        if config := spec.get(field):
            yield f"{field}:"
            yield from (_line(f" {key}", _setting(key, value)) for key, value in config.items())
    yield from _container(task.get("ContainerSpec") or {})
    yield from _networks(service, networks)


def _update(status: dict[str, Any] | None) -> Iterator[str]:
    if not status:
        return
    yield "UpdateStatus:"
    yield _line(" State", status.get("State", ""))
    if started := status.get("StartedAt"):
        yield _line(" Started", render.age(started))
    if completed := status.get("CompletedAt"):
        yield _line(" Completed", render.age(completed))
    yield _line(" Message", status.get("Message", ""))


def _container(container: dict[str, Any]) -> Iterator[str]:
    yield "ContainerSpec:"
    yield _line(" Image", container.get("Image", ""))
    for key in ("Args", "Env"):
        if values := container.get(key):
            yield _line(f" {key}", " ".join(values))
    if mounts := container.get("Mounts"):
        yield " Mounts:"
        for mount in mounts:
            yield f"  {mount.get('Type', '')} {mount.get('Source', '')} -> {mount.get('Target', '')}".rstrip()
    if hosts := container.get("Hosts"):
        yield _line(" Hosts", ", ".join(hosts))
    if dns := container.get("DNSConfig"):
        yield " DNS:"
        yield from (_line(f"  {key}", " ".join(values)) for key, values in dns.items() if values)


def _line(key: str, value: object) -> str:
    return f"{key + ':':<16}{value}".rstrip()


def _setting(key: str, value: Any) -> object:
    return f"{value / 10**9:g}s" if key in ("Delay", "Monitor") else value


def _placement(placement: dict[str, Any]) -> Iterator[str]:
    constraints, most = placement.get("Constraints"), placement.get("MaxReplicas")
    if constraints or most:
        yield "Placement:"
    if constraints:
        yield _line(" Constraints", ", ".join(constraints))
    if most:
        yield _line(" Max Replicas Per Node", f" {most}")


def _networks(service: dict[str, Any], networks: dict[str, str]) -> Iterator[str]:
    spec, endpoint = service["Spec"], service.get("Endpoint") or {}
    wanted = spec["TaskTemplate"].get("Networks") or spec.get("Networks") or []
    if wanted:
        yield "Networks:"
    for one in wanted:
        aliases = f" (aliases {', '.join(one['Aliases'])})" if one.get("Aliases") else ""
        yield f" {networks.get(one['Target'], one['Target'])}{aliases}"
    mode = (endpoint.get("Spec") or {}).get("Mode") or (spec.get("EndpointSpec") or {}).get("Mode") or "vip"
    yield _line("Endpoint Mode", mode)
    if vips := endpoint.get("VirtualIPs"):
        yield "Virtual IPs:"
        yield from (f" {networks.get(v['NetworkID'], v['NetworkID'])} {v.get('Addr', '')}" for v in vips)
    if published := endpoint.get("Ports") or (spec.get("EndpointSpec") or {}).get("Ports"):
        yield "Ports:"
        for port in published:
            yield _line(" PublishedPort", port.get("PublishedPort") or "chosen by the swarm")
            for key in ("Protocol", "TargetPort", "PublishMode"):
                yield _line(f"  {key}", port.get(key, ""))
