"""Networks as the Engine API shows them: those of the swarm, of this host, and the three that every host has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from manager.allocator.addresses import holds, usage
from manager.rules.network_plan import trouble
from manager.store.tables import Tables
from pyswarmd.engine.shown.objects import ZERO_TIME, builtins
from swarmcore.addresses import bare
from swarmcore.model.endpoint import PortConfig, PublishMode
from swarmcore.model.naming import task_name
from swarmcore.model.network import IPAMOptions, Network, NetworkAttachment
from swarmcore.model.node import Node, NodeState
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, endpoint_mac
from swarmcore.model.task import Task, TaskState
from worker.networks.local_networks import LocalNetwork

Shown = dict[str, Any]
_UINT64 = (1 << 64) - 1  # what Docker's clients read a number of addresses into
PREDEFINED_DRIVERS = {"bridge": "bridge", "host": "host", "none": "null"}


def _stable_id(text: str) -> str:
    """64 hexadecimal digits, as Docker's ids of networks and endpoints have; the same on every host."""
    return hashlib.sha256(f"pyswarm/{text}".encode()).hexdigest()


PREDEFINED_IDS: Mapping[str, str] = {_stable_id(f"network/{name}"): name for name in PREDEFINED_DRIVERS}


def _shape(**given: Any) -> Shown:
    """Every field that clients read, in Docker's order."""
    return {
        "Name": "",
        "Id": "",
        "Created": ZERO_TIME,
        "Scope": "local",
        "Driver": "",
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {},
        "Labels": {},
    } | given


def predefined(*, swarm: bool = False) -> list[Shown]:
    """bridge, host and none. In the swarm's scope their names are their ids: specs of services hold them so."""
    return [
        _shape(
            Name=name,
            Id=name if swarm else network_id,
            Scope="swarm" if swarm else "local",
            Driver=PREDEFINED_DRIVERS[name],
        )
        for network_id, name in PREDEFINED_IDS.items()
    ]


# -- the swarm's, on a manager ---------------------------------------------------------------------
def swarm_network(item: Network) -> Shown:
    spec, state = item.spec, item.driver_state or item.spec.driver_configuration
    return _shape(
        Name=spec.name,
        Id=item.id,
        Created=builtins(item).get("CreatedAt", ZERO_TIME),
        Scope="swarm",
        Driver=(state.name if state else "") or "overlay",
        EnableIPv6=spec.ipv6_enabled,
        IPAM=_ipam(spec.ipam_options, item.ipam_options),
        Internal=spec.internal,
        Attachable=spec.attachable,
        Ingress=spec.ingress,
        ConfigFrom={"Network": spec.config_from.network if spec.config_from else ""},
        Options=dict(state.options) if state else {},
        Labels=dict(spec.labels),
    )


def _ipam(wanted: IPAMOptions | None, given: IPAMOptions | None) -> Shown:
    """The subnets that the allocator gave; before that, those that were asked for."""
    driver = (given.driver if given else None) or (wanted.driver if wanted else None)
    chosen = given or wanted
    kept = {config.subnet: config.auxiliary_addresses for config in wanted.configs} if wanted else {}
    pools = []
    for config in chosen.configs if chosen else ():
        pool: Shown = {"Subnet": config.subnet, "Gateway": config.gateway}
        if config.range:
            pool["IPRange"] = config.range
        if auxiliary := config.auxiliary_addresses or kept.get(config.subnet):
            pool["AuxiliaryAddresses"] = dict(auxiliary)
        pools.append(pool)
    return {
        "Driver": (driver.name if driver else "") or "default",
        "Options": dict(driver.options) if driver and driver.options else None,
        "Config": pools,
    }


def in_use(view: Tables, network_id: str) -> bool:
    """Whether a service asks for the network, or a task that has not ended is on it."""
    for service in view.services:
        wanted = (*service.spec.task_template.networks, *service.spec.networks)
        if any(attachment.target == network_id for attachment in wanted):
            return True
    return any(True for _ in _on(view, network_id))


def swarm_details(view: Tables, item: Network, own_node: str) -> Shown:
    """What inspect adds: this host's containers, the hosts that carry the network, the use of its subnets."""
    containers, hosts = {}, set()
    for task, attachment in _on(view, item.id):
        if task.node_id:
            hosts.add(task.node_id)
        status = task.status.container_status
        if task.node_id == own_node and status is not None and status.container_id:
            containers[status.container_id] = _container(
                task_name(task), task.id, item.id, attachment.addresses
            )
    carriers = (
        node
        for node in view.nodes
        if node.id in hosts or (item.spec.ingress and node.status.state is NodeState.READY)
    )
    return {
        "Containers": containers,
        "Peers": [_peer(node) for node in sorted(carriers, key=lambda node: node.id)],
        "Status": _status(view, item),
    }


def _on(view: Tables, network_id: str) -> Iterable[tuple[Task, NetworkAttachment]]:
    """The tasks that hold addresses of a network."""
    for task in view.tasks:
        if not holds(task):
            continue
        for attachment in task.networks_attachments:
            if attachment.network_id == network_id:
                yield task, attachment


def _container(name: str, task_id: str, network_id: str, addresses: Sequence[str]) -> Shown:
    return {
        "Name": name,
        "EndpointID": _stable_id(f"endpoint/{task_id}/{network_id}"),
        "MacAddress": endpoint_mac(task_id, network_id),
        "IPv4Address": next((a for a in addresses if ":" not in a), ""),
        "IPv6Address": next((a for a in addresses if ":" in a), ""),
    }


def _host_address(node: Node | None) -> str:
    if node is None:
        return ""
    return (node.description.data_path_addr if node.description else "") or node.status.addr


def _peer(node: Node) -> Shown:
    name = node.description.hostname if node.description else ""
    return {"Name": name or node.id, "IP": _host_address(node)}


def _status(view: Tables, item: Network) -> Shown:
    """Addresses taken and still free, by subnet (API 1.52); `Warnings` say which are full, or what is missing."""
    configs = {config.subnet: config for config in item.ipam_options.configs} if item.ipam_options else {}
    subnets: Shown = {}
    warnings = [text] if (text := trouble(item, view)) else []
    for use in usage(view, item.id):
        # Nobody gets the first address of a subnet, nor the last of an IPv4 one, the gateway and the user's own.
        nobodys = (1 if ":" in use.subnet else 2) + 1 + len(configs[use.subnet].auxiliary_addresses)
        free = max(0, use.size - use.used)
        subnets[use.subnet] = {
            "IPsInUse": min(use.used + nobodys, _UINT64),
            "DynamicIPsAvailable": min(free, _UINT64),
        }
        if not free:
            warnings.append(f"subnet {use.subnet} of network {item.spec.name} is full")
    return {"IPAM": {"Subnets": subnets}} | ({"Warnings": warnings} if warnings else {})


def swarm_services(view: Tables, item: Network) -> Shown:
    """`verbose`: who answers on the network, by the name of its service."""
    found: Shown = {}
    for task, attachment in _on(view, item.id):
        if task.status.state is not TaskState.RUNNING or task.desired_state > TaskState.RUNNING:
            continue
        service = view.services.get(task.service_id)
        if service is None:
            continue
        endpoint = service.endpoint
        vips = [v.addr for v in endpoint.virtual_ips if v.network_id == item.id] if endpoint else []
        entry = found.setdefault(service.spec.name, _service(vips, endpoint.ports if endpoint else ()))
        host = _host_address(view.nodes.get(task.node_id))
        entry["Tasks"].append(_endpoint(task_name(task), task.id, item.id, attachment.addresses, host))
    return found


def _service(vips: Sequence[str], ports: Iterable[PortConfig]) -> Shown:
    published = [p for p in ports if p.publish_mode is PublishMode.INGRESS]
    return {
        "VIP": bare(vips[0]) if vips else "",
        "Ports": [f"Target: {port.target_port}, Publish: {port.published_port}" for port in published],
        "LocalLBIndex": 0,  # the mark of Docker's balancer, which has no counterpart here
        "Tasks": [],
    }


def _endpoint(name: str, task_id: str, network_id: str, addresses: Sequence[str], host: str) -> Shown:
    return {
        "Name": name,
        "EndpointID": _stable_id(f"endpoint/{task_id}/{network_id}"),
        "EndpointIP": bare(addresses[0]) if addresses else "",
        "Info": {"Host IP": host},
    }


# -- the swarm's, on a worker ----------------------------------------------------------------------
def carried_network(table: NetworkTable) -> Shown:
    """A worker knows of a network only what its endpoint table says."""
    network = table.network
    return _shape(
        Name=network.name,
        Id=network.id,
        Scope="swarm",
        Driver=network.driver,
        EnableIPv6=any(":" in subnet.subnet for subnet in network.subnets),
        IPAM={
            "Driver": "default",
            "Options": None,
            "Config": [{"Subnet": subnet.subnet, "Gateway": subnet.gateway} for subnet in network.subnets],
        },
        Internal=network.internal,
        Ingress=network.ingress,
        Options=dict(network.options),
    )


def carried_details(table: NetworkTable, own_node: str) -> Shown:
    prefixes = {":" in s.subnet: ip_network(s.subnet).prefixlen for s in table.network.subnets}

    def sized(endpoint: OverlayEndpoint) -> list[str]:
        return [f"{address}/{prefixes.get(':' in address, 32)}" for address in endpoint.addresses]

    return {
        "Containers": {
            e.id: _container(e.name, e.id, table.network.id, sized(e))
            for e in table.endpoints.values()
            if e.node_id == own_node
        },
        "Peers": [
            {"Name": node.id, "IP": node.vtep} for node in sorted(table.nodes.values(), key=lambda n: n.id)
        ],
    }


def carried_services(table: NetworkTable) -> Shown:
    found: Shown = {}
    for service in table.services.values():
        entry = _service(service.vips, service.ports)
        for endpoint in table.active(service.id):
            node = table.nodes.get(endpoint.node_id)
            host = node.vtep if node else ""
            entry["Tasks"].append(
                _endpoint(endpoint.name, endpoint.id, table.network.id, endpoint.addresses, host)
            )
        found[service.name] = entry
    return found


# -- this host's -----------------------------------------------------------------------------------
def local_network(item: LocalNetwork) -> Shown:
    wanted = item.wanted
    return _shape(
        Name=wanted.name,
        Id=item.id,
        Created=item.created_at.isoformat(),
        Driver="null" if wanted.config_only else wanted.driver or "bridge",
        EnableIPv4=wanted.enable_ipv4 is not False,
        EnableIPv6=wanted.enable_ipv6,
        IPAM={
            "Driver": wanted.ipam.driver or "default",
            "Options": dict(wanted.ipam.options) or None,
            "Config": [builtins(pool) for pool in item.pools],
        },
        Internal=wanted.internal,
        Attachable=wanted.attachable,
        ConfigFrom={"Network": wanted.config_from.network if wanted.config_from else ""},
        ConfigOnly=wanted.config_only,
        Options=dict(wanted.options),
        Labels=dict(wanted.labels),
        Containers={
            container_id: {
                "Name": container.name,
                "EndpointID": container.endpoint_id,
                "MacAddress": container.mac,
                "IPv4Address": container.ipv4,
                "IPv6Address": container.ipv6,
            }
            for container_id, container in item.containers.items()
        },
    )
