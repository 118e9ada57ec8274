"""Addresses on networks of this host: what a container wishes for and gets, all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence

from netoverlay.containers.sandboxes import HostSegment
from swarmcore.errors import FailedPrecondition, Invalid
from swarmcore.ipam import AddressSet, parse_subnet


def address_sets(segment: HostSegment) -> list[AddressSet]:
    return [
        AddressSet(
            parse_subnet(subnet),
            within=parse_subnet(within) if within else None,
            reserved=[gateway, *segment.reserved],
        )
        for subnet, gateway, within in zip(segment.subnets, segment.gateways, segment.ranges, strict=True)
    ]


def wishes_of(
    sets: Sequence[AddressSet], wanted: Sequence[str], network: str, container_id: str
) -> list[str | None]:
    """For each subnet the address that is wanted of it, and free. Nothing is taken."""
    found: list[str | None] = [None] * len(sets)
    for address in wanted:
        place = next((at for at, held in enumerate(sets) if held.covers(address)), None)
        if place is None:
            raise Invalid(f"network {network} of this host does not give out {address}")
        if found[place] is not None:
            raise Invalid(
                f"{found[place]} and {address} are wanted of the same subnet", "a container gets one of each"
            )
        if sets[place].holder(address) not in (None, container_id):
            raise FailedPrecondition(f"address {address} is already in use")
        found[place] = address
    return found


def given(held: AddressSet, wish: str | None, container_id: str) -> str:
    if wish is not None:
        held.reserve(wish, container_id)
        return f"{wish}/{held.subnet.prefixlen}"
    address = held.take(container_id)
    assert address is not None, "nobody looked whether there is room"
    return address
