"""Address arithmetic: free subnets out of pools, and who holds which address of a subnet. Nothing is ever listed.

A `/64` costs as little as a `/24`: what is kept grows with the addresses in use, not with the subnet.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network, ip_network

from swarmcore.addresses import bare

Subnet = IPv4Network | IPv6Network

_BITS = {4: 32, 6: 128}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def parse_subnet(text: str) -> Subnet:
    """ValueError, with a text for users, if it is no CIDR or has bits set behind its prefix."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"invalid subnet {text!r}: write it like 10.1.0.0/24") from None
    raise ValueError(f"invalid subnet {text}: it should be {meant}")


def overlap(one: Subnet, other: Subnet) -> bool:
    """Whether an address is in both; never of two families."""
    if one.version != other.version:
        return False
    return _first(one) <= _last(other) and _first(other) <= _last(one)


def free_subnet(pools: Iterable[Subnet], prefix: int, taken: Iterable[Subnet]) -> Subnet | None:
    """The first subnet with this prefix length, in the order of the pools, that overlaps nothing `taken`.

    Jumps from one taken subnet to the next: the time depends on how many there are, not on how large the pool is.
    """
    taken = list(taken)
    for pool in pools:
        if prefix < pool.prefixlen:
            continue
        step = 1 << (_BITS[pool.version] - prefix)
        blocked = sorted((_first(t), _last(t)) for t in taken if overlap(t, pool))
        start = _first(pool)
        for low, high in blocked:
            if start + step <= low:
                break
            if high >= start:
                start = (high // step + 1) * step
        if start + step - 1 <= _last(pool):
            return type(pool)((start, prefix))
    return None


def local_ipv6_pool(cluster_id: str) -> IPv6Network:
    """A swarm's own /48 of unique local addresses (RFC 4193, 3.2): 40 bits that another swarm hardly has too."""
    digest = blake2b(cluster_id.encode(), digest_size=5).digest()
    return IPv6Network((b"\xfd" + digest + bytes(10), 48))


class AddressSet:
    """The addresses of one subnet that may be handed out, and who holds which.

    `take` walks on from the address it gave last. Once it has been around, the address that has been free for
    longest comes next: peers that still remember a former holder have had most time to forget it.
    """

    def __init__(self, subnet: Subnet, within: Subnet | None = None, reserved: Iterable[str] = ()) -> None:
        """`within`: only addresses of this part of the subnet are given to who names none.

        `reserved` are nobody's (a gateway's).
        """
        self.subnet = subnet
        self._base = _first(subnet)
        self._low, self._high = self._usable = _usable(subnet)
        if within is not None:
            self._low = max(self._low, _first(within) - self._base)
            self._high = min(self._high, _last(within) - self._base)
        self._holders: dict[int, str] = {}  # offset in the subnet -> who
        self._asked = 0  # how many of them are held outside of `within`
        # Given back and not given again, longest free first. Every other free address is one that the walk has
        # yet to come to.
        self._returned: OrderedDict[int, None] = OrderedDict()
        self._next = self._low
        self._to_visit = max(0, self._high - self._low + 1)
        places = (self._offset(address) for address in reserved)
        self._reserved = frozenset(place for place in places if place is not None)
        # How many addresses can be given to who names none.
        self.size = self._to_visit - sum(self._is_within(place) for place in self._reserved)

    @property
    def used(self) -> int:
        """How many of `size` are held."""
        return len(self._holders) - self._asked

    @property
    def full(self) -> bool:
        return self.used >= self.size

    def covers(self, address: str) -> bool:
        """Whether it can be somebody's."""
        offset = self._offset(address)
        return offset is not None and offset not in self._reserved

    def holder(self, address: str) -> str | None:
        """Who has it. An address may be followed by a prefix length, here and everywhere."""
        offset = self._offset(address)
        return None if offset is None else self._holders.get(offset)

    def take(self, holder: str) -> str | None:
        """An address with the subnet's prefix length; None if all are held."""
        offset = self._fresh()
        if offset is None:
            if not self._returned:
                return None
            offset, _ = self._returned.popitem(last=False)
        self._holders[offset] = holder
        return self._text(offset)

    def reserve(self, address: str, holder: str) -> bool:
        """Note that `holder` has it; False if somebody else has. An address that is not to be given is nobody's."""
        offset = self._offset(address)
        if offset is None or offset in self._reserved:
            return True
        if offset not in self._holders:
            self._holders[offset] = holder
            self._returned.pop(offset, None)
            self._asked += not self._is_within(offset)
        return self._holders[offset] == holder

    def release(self, address: str, holder: str) -> bool:
        """Whether that made it free: not if it is another's by now."""
        offset = self._offset(address)
        if offset is None or self._holders.get(offset) != holder:
            return False
        del self._holders[offset]
        if self._is_within(offset):
            self._returned[offset] = None
        else:
            self._asked -= 1
        return True

    def was_used(self, address: str) -> None:
        """Not held any more, but given again only after those that never were."""
        offset = self._offset(address)
        if offset is None or offset in self._reserved or offset in self._holders:
            return
        if self._is_within(offset):
            self._returned.pop(offset, None)
            self._returned[offset] = None

    def walk_on_from(self, address: str) -> None:
        """Let the walk begin anew behind this address, as if it had been given last."""
        offset = self._offset(address)
        if offset is not None and self._is_within(offset):
            self._next = offset + 1 if offset < self._high else self._low
            self._to_visit = self._high - self._low + 1

    def _fresh(self) -> int | None:
        while self._to_visit > 0:
            offset = self._next
            self._next = offset + 1 if offset < self._high else self._low
            self._to_visit -= 1
            free = offset not in self._holders and offset not in self._returned
            if free and offset not in self._reserved:
                return offset
        return None

    def _offset(self, address: str) -> int | None:
        """Its place in the subnet; None if it is no host address of it."""
        number = address_number(address, self.subnet.version)
        if number is None:
            return None
        offset = number - self._base
        return offset if self._usable[0] <= offset <= self._usable[1] else None

    def _is_within(self, offset: int) -> bool:
        return self._low <= offset <= self._high

    def _text(self, offset: int) -> str:
        version = self.subnet.version
        raw = (self._base + offset).to_bytes(_BITS[version] // 8, "big")
        return f"{socket.inet_ntop(_FAMILY[version], raw)}/{self.subnet.prefixlen}"


def address_number(address: str, version: int) -> int | None:
    """The address (a prefix length behind it is dropped) as an integer; None if it is none of this IP version."""
    try:
        return int.from_bytes(socket.inet_pton(_FAMILY[version], bare(address)), "big")
    except OSError:
        return None


def first_address(subnet: Subnet) -> str:
    """The first that a host may have: gateways get it."""
    return str(subnet[_usable(subnet)[0]])


def contains(subnet: Subnet, address: str) -> bool:
    """Whether a host of the subnet may have this address."""
    number = address_number(address, subnet.version)
    low, high = _usable(subnet)
    return number is not None and low <= number - _first(subnet) <= high


def room(subnet: Subnet) -> int:
    """How many addresses of it hosts may have."""
    low, high = _usable(subnet)
    return high - low + 1


def _usable(subnet: Subnet) -> tuple[int, int]:
    """Offsets of the first and last host address: IPv4 without network and broadcast (but RFC 3021), IPv6 without
    the routers' anycast address (RFC 4291, 2.6.1)."""
    last = _last(subnet) - _first(subnet)
    if last < 2:  # point to point, or one host
        return 0, last
    return (1, last - 1) if subnet.version == 4 else (1, last)


def _first(subnet: Subnet) -> int:
    return int(subnet.network_address)


def _last(subnet: Subnet) -> int:
    return int(subnet.broadcast_address)
