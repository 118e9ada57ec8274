"""From a task and the endpoint tables to what its sandbox is made from: values in, a value out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from netoverlay.containers.sandboxes import Join, Resolving, SandboxSpec
from swarmcore.durations import duration
from swarmcore.errors import Invalid
from swarmcore.model.endpoint import DRAIN_LABEL, PortConfig, PublishMode
from swarmcore.model.network import OVERLAY, PREDEFINED, NetworkAttachment, is_antispoof
from swarmcore.model.overlay import NetworkTable, OverlayNetwork, endpoint_mac
from swarmcore.model.task import Task

DRAIN = 2.0  # seconds, as long as Docker waits

Tables = Mapping[str, NetworkTable]
ChoosePort = Callable[[PortConfig], int]


def predefined_network(task: Task) -> str:
    """`host`, `none` or `bridge` if the task asks for one of them, else nothing."""
    for network in task.spec.networks:
        if network.target in PREDEFINED:
            return network.target
    return ""


def sandbox_spec(
    task: Task, container_id: str, tables: Tables, resolving: Resolving, choose_port: ChoosePort
) -> SandboxSpec:
    """The sandbox of a task all of whose networks are in `tables`."""
    joins: list[Join] = []
    ingress: tuple[str, ...] = ()
    open_networks = 0
    for attachment in task.networks_attachments:
        network = tables[attachment.network_id].network
        if network.driver != OVERLAY:
            continue  # each host gives its own addresses
        if network.ingress:
            ingress = attachment.addresses
            continue
        joins.append(_join(task, attachment, network, f"eth{len(joins)}"))
        open_networks += not network.internal
    # As Docker: a container whose networks are all internal has no way out.
    gateway = not joins or open_networks > 0
    return SandboxSpec(
        id=container_id,
        task_id=task.id,
        joins=tuple(joins),
        ingress=ingress,
        gateway=gateway,
        host_ports=host_ports(task, choose_port),
        resolving=resolving if gateway else replace(resolving, from_host=()),
    )


def free_interface(spec: SandboxSpec) -> str:
    """The first of eth0, eth1, … that the sandbox does not have."""
    taken = {join.interface for join in spec.joins} | {join.interface for join in spec.host_joins}
    return next(name for number in range(len(taken) + 1) if (name := f"eth{number}") not in taken)


def host_networks(task: Task, tables: Tables) -> list[OverlayNetwork]:
    """The task's networks that every host makes for itself (bridge, macvlan, ipvlan)."""
    networks = [tables[attachment.network_id].network for attachment in task.networks_attachments]
    return [network for network in networks if network.driver != OVERLAY]


def _join(task: Task, attachment: NetworkAttachment, network: OverlayNetwork, interface: str) -> Join:
    if not attachment.addresses:
        raise Invalid(f"the task has no address on network {attachment.network_id}")
    return Join(
        network_id=attachment.network_id,
        interface=interface,
        mac=endpoint_mac(task.id, attachment.network_id),
        addresses=attachment.addresses,
        antispoof=antispoof(task, network),
    )


def antispoof(task: Task, network: OverlayNetwork) -> bool:
    """Neither the service nor the network asked for containers that use addresses of others."""
    return network.antispoof and is_antispoof(task.service_annotations.labels)


def host_ports(task: Task, choose: ChoosePort) -> tuple[PortConfig, ...]:
    """What the task publishes on its own node; `choose` confirms or finds the number of each."""
    endpoint = task.endpoint
    if endpoint is None:
        return ()
    ports = endpoint.ports or endpoint.spec.ports
    return tuple(
        replace(port, published_port=choose(port)) for port in ports if port.publish_mode is PublishMode.HOST
    )


def drain_seconds(task: Task) -> float:
    """How long connections that live get to end once the task shall stop."""
    text = task.service_annotations.labels.get(DRAIN_LABEL, "")
    return duration(text) / 1e9 if text else DRAIN
