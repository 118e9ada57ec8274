"""What an endpoint table is: its entries and the whole of it as pure functions of the state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network

from manager.store.tables import Tables
from swarmcore.addresses import bare
from swarmcore.model.cluster import DATA_PATH_PORT
from swarmcore.model.endpoint import INGRESS_LABEL, EndpointMode, EndpointSpec
from swarmcore.model.naming import task_name
from swarmcore.model.network import MTU, VXLAN_IDS, Network
from swarmcore.model.node import Node, NodeState
from swarmcore.model.overlay import (
    NetworkTable,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayNode,
    OverlayService,
    OverlaySubnet,
    endpoint_mac,
)
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState
from swarmcore.text.numbers import whole


def ingress_network(view: Tables) -> Network | None:
    """The ingress network; one that is being removed counts only while there is no other."""
    found = [network for network in view.networks if network.spec.ingress]
    return min(found, key=lambda network: (network.pending_delete, network.id), default=None)


_LAST_VNI, _LAST_MTU = (1 << 24) - 1, 65535


def overlay_network(network: Network, port: int) -> OverlayNetwork:
    options = network.driver_state.options if network.driver_state is not None else {}
    given = {**network.spec.options, **options}
    configs = network.ipam_options.configs if network.ipam_options is not None else ()
    texts = options.get(VXLAN_IDS, "").split(",")
    vnis = [vni for text in texts if (vni := whole(text.strip(), _LAST_VNI, 1)) is not None]
    seen: Counter[int] = Counter()
    subnets: list[OverlaySubnet] = []
    for config in configs:
        version = ip_network(config.subnet).version
        position = seen[version]
        seen[version] += 1
        subnets.append(
            OverlaySubnet(
                subnet=config.subnet,
                gateway=config.gateway,
                vni=vnis[min(position, len(vnis) - 1)] if vnis else 0,
            )
        )
    return OverlayNetwork(
        id=network.id,
        name=network.spec.name,
        subnets=tuple(subnets),
        driver=network.spec.driver,
        options=dict(network.spec.options),
        config_from=network.spec.config_from.network if network.spec.config_from is not None else "",
        mtu=whole(given.get(MTU, ""), _LAST_MTU) or 0,
        port=port,
        internal=network.spec.internal,
        ingress=network.spec.ingress,
        encrypted=network.spec.encrypted,
        antispoof=network.spec.antispoof,
    )


def overlay_services(service: Service) -> Iterator[tuple[str, OverlayService]]:
    """The service on each of its networks, by network id."""
    endpoint = service.endpoint
    vips: dict[str, list[str]] = {}
    for vip in endpoint.virtual_ips if endpoint is not None else ():
        vips.setdefault(vip.network_id, []).append(bare(vip.addr))
    spec = service.spec.endpoint_spec or EndpointSpec()
    wishes = service.spec.task_template.networks or service.spec.networks
    aliases = {wish.target: wish.aliases for wish in wishes}
    ports = endpoint.ports if endpoint is not None else ()
    for network_id in dict.fromkeys([*aliases, *vips]):
        yield (
            network_id,
            OverlayService(
                id=service.id,
                name=service.spec.name,
                aliases=aliases.get(network_id, ()),
                mode=spec.mode if vips.get(network_id) else EndpointMode.DNSRR,
                vips=tuple(vips.get(network_id, ())),
                ports=ports,
                local_only=service.spec.labels.get(INGRESS_LABEL) == "local",
            ),
        )


def mesh_service(service: Service, ingress_id: str) -> OverlayService | None:
    """The service on the ingress network, if it publishes ports there. It has an address there, but no name."""
    spec = service.spec.endpoint_spec or EndpointSpec()
    if not spec.uses_ingress or service.endpoint is None:
        return None
    return OverlayService(
        id=service.id,
        name=service.spec.name,
        mode=EndpointMode.DNSRR,
        vips=tuple(bare(vip.addr) for vip in service.endpoint.virtual_ips if vip.network_id == ingress_id),
        ports=service.endpoint.ports,
        local_only=service.spec.labels.get(INGRESS_LABEL) == "local",
    )


def is_active(task: Task) -> bool:
    """It gets new connections, as far as its own state goes. A job's task (desired COMPLETE) does, too."""
    return task.status.state is TaskState.RUNNING and task.desired_state < TaskState.SHUTDOWN


def has_endpoints(task: Task) -> bool:
    return bool(task.networks_attachments and task.node_id) and not task.status.state.is_final


def overlay_endpoints(task: Task, node: Node | None) -> Iterator[tuple[str, OverlayEndpoint]]:
    """The task on each of its networks. None where it has ended, or its node is down or gone."""
    if not has_endpoints(task) or node is None or node.status.state is NodeState.DOWN:
        return
    container = task.status.container_status
    hostname = task.spec.container.hostname
    # A host name with placeholders is known on its node only; its task's name says the same.
    names = [] if "{{" in hostname else [hostname]
    if container is not None and container.container_id:
        names.append(container.container_id[:12])
    for attachment in task.networks_attachments:
        if not attachment.addresses:
            continue
        own = names if task.service_id else [*names, *attachment.aliases]
        yield (
            attachment.network_id,
            OverlayEndpoint(
                id=task.id,
                node_id=task.node_id,
                name=task_name(task),
                service_id=task.service_id,
                aliases=tuple(dict.fromkeys(name for name in own if name)),
                addresses=tuple(bare(address) for address in attachment.addresses),
                mac=endpoint_mac(task.id, attachment.network_id),
                active=is_active(task),
            ),
        )


def overlay_node(node: Node, ingress: Network | None) -> OverlayNode | None:
    """The node as a host of networks; None while it has not said where it can be reached."""
    described = node.description.data_path_addr if node.description is not None else ""
    vtep = described or node.status.addr
    if not vtep:
        return None
    if ingress is None:
        return OverlayNode(id=node.id, vtep=vtep)
    own = [a for each in node.attachments if each.network_id == ingress.id for a in each.addresses]
    if not own:
        return None
    first = ip_interface(own[0])
    number = int(first.ip) - int(first.network.network_address)
    return OverlayNode(
        id=node.id,
        vtep=vtep,
        addresses=tuple(bare(a) for a in own),
        number=number,
        host_addresses=tuple(bare(a) for a in node.description.host_subnets) if node.description else (),
    )


def data_path_port(view: Tables) -> int:
    return next((cluster.overlay_port for cluster in view.clusters), DATA_PATH_PORT)


def service_entries(service: Service, ingress: Network | None) -> dict[str, OverlayService]:
    """The service on all its networks, the ingress network among them, by network id."""
    entries = dict(overlay_services(service))
    if ingress is not None:
        entries.pop(ingress.id, None)
        if (mesh := mesh_service(service, ingress.id)) is not None:
            entries[ingress.id] = mesh
    return entries


def derive(view: Tables, network_id: str) -> NetworkTable | None:
    """The table of one network; None if there is no such network."""
    if (network := view.networks.get(network_id)) is None:
        return None
    ingress = ingress_network(view)
    found = ((s.id, service_entries(s, ingress).get(network_id)) for s in view.services)
    services = {service_id: entry for service_id, entry in found if entry is not None}
    endpoints = {
        task.id: entry
        for task in view.tasks
        for on, entry in overlay_endpoints(task, view.nodes.get(task.node_id))
        if on == network_id
    }
    if ingress is not None and ingress.id == network_id:
        hosts, on_ingress = list(view.nodes), ingress
    else:
        carriers = {entry.node_id for entry in endpoints.values()}
        hosts, on_ingress = [node for node in view.nodes if node.id in carriers], None
    nodes = {node.id: entry for node in hosts if (entry := overlay_node(node, on_ingress)) is not None}
    return NetworkTable(
        network=overlay_network(network, data_path_port(view)),
        nodes=nodes,
        services=services,
        endpoints=endpoints,
    )
