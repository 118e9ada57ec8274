"""Room for a node that joins: unused networks that are in its host's way move, for used ones it is refused."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from random import Random

from msgspec.structs import replace

from manager.rules.clashes import Clash, clashes, subnets
from manager.rules.current import is_on_network
from manager.rules.network_plan import is_allocated, plan_network
from manager.store.tables import Tables
from manager.store.tx import Tx
from swarmcore.errors import FailedPrecondition, SwarmError
from swarmcore.model.network import IPAMOptions, Network
from swarmcore.model.node import Node

log = logging.getLogger(__name__)


class InTheWay(FailedPrecondition):
    """The host's networks and those of the swarm cannot both be reached from there."""

    hint = (
        "give the host other addresses, or make the network anew with another --subnet "
        "(a swarm that has yet to be made takes --default-addr-pool)"
    )


def make_room(tx: Tx, node: Node) -> None:
    """For `node`, which the store has by now: move the networks that are in its way. Raises InTheWay."""
    others = [each for each in tx.nodes if each.id != node.id]
    for network in tuple(tx.networks):
        clash = next(clashes(node, (network,)), None)
        if clash is None or _is_accepted(network, others):
            continue
        if not is_movable(network, tx):
            raise _refusal(clash)
        _move(tx, network, clash)


def _refusal(clash: Clash) -> InTheWay:
    return InTheWay(f"this host cannot join the swarm: its {clash}")


def _is_accepted(network: Network, nodes: Iterable[Node]) -> bool:
    """Users may choose a subnet in the way of hosts, for which they are warned: one more such host is no news. The
    ingress network is another matter, because hosts themselves are on it."""
    return not network.spec.ingress and any(any(clashes(node, (network,))) for node in nodes)


def is_movable(network: Network, tables: Tables) -> bool:
    """Nobody chose its subnets, and nobody has an address there but the nodes."""
    configs = (network.spec.ipam_options or IPAMOptions()).configs
    if any(config.subnet for config in configs) or network.pending_delete:
        return False
    if any(is_on_network(task, network.id) for task in tables.tasks):
        return False
    for service in tables.services:
        wishes = (*service.spec.task_template.networks, *service.spec.networks)
        publishes = service.spec.endpoint_spec is not None and service.spec.endpoint_spec.uses_ingress
        if any(wish.target == network.id for wish in wishes) or (network.spec.ingress and publishes):
            return False
    return True


def _move(tx: Tx, network: Network, clash: Clash) -> None:
    """The allocator gives the nodes their addresses there anew."""
    if not is_allocated(network):
        return  # it gets its subnets with the node in sight
    try:
        plan = plan_network(network.spec, tx, Random(0), network_id=network.id)
    except SwarmError as error:
        log.warning("an unused network cannot move", extra={"network": network.id, "reason": str(error)})
        raise _refusal(clash) from error
    # Its VNIs stay, whatever the plan says of them: they are in nobody's way.
    moved = tx.networks.put(replace(network, ipam_options=plan.ipam_options))
    log.warning(
        "an unused network has moved out of the way of a node that joins",
        extra={
            "network": network.spec.name,
            "reason": str(clash),
            "subnets": ", ".join(map(str, subnets(moved))),
        },
    )
