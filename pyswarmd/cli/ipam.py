"""`--subnet`, `--ip-range`, `--gateway`, `--aux-address`: which of them belong together (docker/cli network create)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from swarmcore.errors import Invalid

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def pools(
    subnets: Sequence[str], ranges: Sequence[str], gateways: Sequence[str], auxiliary: Sequence[str]
) -> list[dict[str, Any]]:
    """One pool a subnet, each with the range, gateway and addresses that lie in it."""
    if len(ranges) > len(subnets) or len(gateways) > len(subnets):
        raise Invalid("every ip-range or gateway must have a corresponding subnet", "add --subnet")
    found: dict[Network, dict[str, Any]] = {}
    for text in subnets:
        subnet = _network(text, "subnet")
        for other in found:
            if subnet.version == other.version and subnet.overlaps(other):
                raise Invalid(f"the subnets {other} and {subnet} overlap")
        found[subnet] = {"Subnet": text}
    for text in ranges:
        part = _network(text, "ip-range")
        _put(found, part.network_address, "IPRange", text, "ip-range", last=part.broadcast_address)
    for text in gateways:
        _put(found, _address(text, "gateway"), "Gateway", text, "gateway")
    for text in auxiliary:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise Invalid(f"invalid aux-address {text!r}", "write it like router=10.0.0.5")
        pool = _pool_of(found, _address(value, "aux-address"), f"aux-address {text}")
        pool.setdefault("AuxiliaryAddresses", {})[name] = value
    return list(found.values())


def _network(text: str, what: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise Invalid(f"invalid {what} {text}: {error}", "write it like 10.20.0.0/24") from None


def _address(text: str, what: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise Invalid(f"invalid {what} {text!r}: it is no IP address") from None


def _pool_of(found: dict[Network, dict[str, Any]], address: Address, what: str) -> dict[str, Any]:
    for subnet, pool in found.items():
        if address in subnet:
            return pool
    raise Invalid(f"no matching subnet for {what}", "add --subnet")


def _put(
    found: dict[Network, dict[str, Any]],
    address: Address,
    field: str,
    text: str,
    what: str,
    *,
    last: Address | None = None,
) -> None:
    pool = _pool_of(found, address, f"{what} {text}")
    if last is not None and _pool_of(found, last, f"{what} {text}") is not pool:
        raise Invalid(f"no matching subnet for {what} {text}", "a range lies in one subnet")
    if field in pool:
        raise Invalid(f"cannot configure two of {what} ({pool[field]}, {text}) on the same subnet")
    pool[field] = text
