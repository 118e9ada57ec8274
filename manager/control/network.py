"""Writes about networks: create and remove. Subnets and VXLAN ids follow from the allocator."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from msgspec.structs import replace

from manager.control import network_spec
from manager.control.lookup import lookup_network
from manager.control.network_spec import Subnet
from manager.rules.clashes import host_networks
from manager.rules.current import holds_network, is_on_network
from manager.store.tables import Tables
from manager.store.tx import Tx
from swarmcore.errors import Conflict, FailedPrecondition
from swarmcore.ipam import overlap
from swarmcore.model.network import OVERLAY, VXLAN_IDS, Network, NetworkSpec
from swarmcore.model.node import Node
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState
from swarmcore.rpc.messages.control import ControlReply, CreateNetwork, RemoveNetwork


def create(tx: Tx, request: CreateNetwork) -> ControlReply:
    if (existing := tx.networks.get(request.id)) is not None:
        return ControlReply(id=existing.id)  # the answer to an earlier attempt was lost
    spec = network_spec.canonical(request.spec)
    network_spec.check(spec)
    if tx.networks.find("name", spec.name):
        raise Conflict(f"network with name {spec.name} already exists", "choose another name")
    if spec.ingress:
        _check_only_ingress(tx)
        _check_ingress_subnets(tx, spec)
    _check_apart(tx, spec)
    tx.networks.put(Network(id=request.id, spec=spec))
    return ControlReply(id=request.id, warnings=tuple(_warnings(tx, spec)))


def _check_only_ingress(tx: Tx) -> None:
    for other in tx.networks:
        if other.spec.ingress:
            raise Conflict(f"ingress network ({other.id}) is already present", "remove it first")


def _check_apart(tx: Tx, spec: NetworkSpec) -> None:
    """No VXLAN id and no subnet of another network is asked for.

    A removed network whose last tasks are ending may hold the same: a stack that is deployed again names them
    again. The allocator shares the subnet, as other VXLAN ids keep the two apart, and waits for the ids.
    """
    subnets, ids = network_spec.subnets_of(spec), set(network_spec.vxlan_ids(spec))
    for other in tx.networks:
        if taken := ids & set(_vxlan_ids(other)):
            raise Conflict(
                f"VXLAN id {min(taken)} is in use by network {other.spec.name}", "choose another one"
            )
        if other.pending_delete:
            continue
        for theirs in _subnets(other):
            for own in subnets:
                if own.overlaps(theirs):
                    raise Conflict(
                        f"subnet {own} overlaps with subnet {theirs} of network {other.spec.name}",
                        "choose another subnet, or leave it out to get a free one",
                    )


def _subnets(network: Network) -> tuple[Subnet, ...]:
    """Those that it has, or before the allocator has seen it those that it asks for."""
    if network.ipam_options is None:
        return network_spec.subnets_of(network.spec)
    return tuple(ip_network(config.subnet) for config in network.ipam_options.configs if config.subnet)


def _vxlan_ids(network: Network) -> tuple[int, ...]:
    text = network.driver_state.options.get(VXLAN_IDS, "") if network.driver_state else ""
    return tuple(map(int, text.split(","))) if text else network_spec.vxlan_ids(network.spec)


def _warnings(tx: Tx, spec: NetworkSpec) -> Iterator[str]:
    for option in network_spec.ignored_options(spec):
        yield f"option {option} has no effect on an overlay network"
    wanted = network_spec.subnets_of(spec) if spec.driver == OVERLAY else ()
    for node in tx.nodes:
        for each in host_networks(node):
            for own in wanted:
                if overlap(own, each.subnet):
                    yield f"subnet {own} overlaps with {each} of node {_hostname(node)}"


def _hostname(node: Node) -> str:
    return node.description.hostname if node.description is not None else node.id


def _check_ingress_subnets(tx: Tx, spec: NetworkSpec) -> None:
    """Hosts themselves are on the ingress network: one in their way would cut them off."""
    for own in network_spec.subnets_of(spec):
        for node in tx.nodes:
            for each in host_networks(node):
                if each.forbids(own):
                    raise Conflict(
                        f"subnet {own} of the ingress network overlaps with {each} of node {_hostname(node)}",
                        "choose another subnet, or leave it out to get a free one",
                    )


# -- removal ---------------------------------------------------------------------------------------
def remove(tx: Tx, request: RemoveNetwork) -> ControlReply:
    """Refused while somebody wants it. While tasks on it are only ending, it goes when the last of them has.

    That way `stack rm` can remove networks right after the services, and nobody gets the subnets and VXLAN ids of
    connections that still drain. The ingress network is refused then as well: a host cannot have two.
    """
    network = lookup_network(tx.networks, request.id)
    for service in tx.services:
        _check_unused(network, service)
    for task in tx.tasks:
        if is_on_network(task, network.id) and _is_wanted(task, tx):
            raise _in_use(network, task)
    holder = next((t for t in tx.tasks if holds_network(t, network.id, tx.nodes.get(t.node_id))), None)
    if holder is not None and network.spec.ingress:
        raise _in_use(network, holder)
    if holder is not None:
        tx.networks.put(replace(network, pending_delete=True))
    else:
        tx.networks.delete(network.id)
    return ControlReply(id=network.id)


def _check_unused(network: Network, service: Service) -> None:
    spec = service.spec
    if any(wish.target == network.id for wish in (*spec.task_template.networks, *spec.networks)):
        raise FailedPrecondition(
            f"network {network.id} is in use by service {service.id}",
            f"remove service {spec.name}, or take the network from it",
        )
    if network.spec.ingress and spec.endpoint_spec is not None and spec.endpoint_spec.uses_ingress:
        raise FailedPrecondition(
            f"ingress network cannot be removed because service {service.id} depends on it",
            f"take the published ports from service {spec.name}",
        )


def _is_wanted(task: Task, view: Tables) -> bool:
    """A task without a service is a container that joined the network by itself."""
    if task.desired_state > TaskState.COMPLETE:
        return False
    return not task.service_id or task.service_id in view.services


def _in_use(network: Network, task: Task) -> FailedPrecondition:
    return FailedPrecondition(
        f"network {network.id} is in use by task {task.id}", "try again when the task has ended"
    )
