"""The ingress network, which the leader makes, and the address on it that every node gets."""

from __future__ import annotations

from manager.allocator.addresses import Addresses
from manager.rules.network_plan import is_allocated
from manager.store.tables import Tables
from swarmcore.model.base import Driver
from swarmcore.model.network import OVERLAY, IPAMOptions, Network, NetworkAttachment, NetworkSpec
from swarmcore.model.node import Node

NAME = "ingress"


def find(tables: Tables) -> Network | None:
    return next((n for n in tables.networks if n.spec.ingress and not n.pending_delete), None)


def missing(tables: Tables) -> bool:
    """A user may have made one under another name, or have the name for something else."""
    initialised = next(iter(tables.clusters), None) is not None
    return initialised and find(tables) is None and not tables.networks.find("name", NAME)


def new_network(network_id: str) -> Network:
    """Always with IPv6: whether clients come that way is theirs to decide."""
    return Network(
        id=network_id,
        spec=NetworkSpec(
            name=NAME,
            driver_configuration=Driver(name=OVERLAY),
            ipam_options=IPAMOptions(driver=Driver(name="default")),
            ipv6_enabled=True,
            ingress=True,
            scope="swarm",
        ),
    )


def attachments(node: Node, ingress: Network | None, addresses: Addresses) -> tuple[NetworkAttachment, ...]:
    """The node's address on the ingress network, kept while it is good. Raises Waits if it is full."""
    if ingress is None or not is_allocated(ingress):
        return ()
    for had in node.attachments:
        if had.network_id == ingress.id and addresses.holds(ingress.id, had.addresses, node.id):
            return (had,)
    addresses.check_room(ingress.id)
    return (NetworkAttachment(network_id=ingress.id, addresses=addresses.give_out(ingress.id, node.id)),)
