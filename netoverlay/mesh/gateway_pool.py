"""Addresses for containers that have none on the ingress network: known to their host alone, which hides them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network, ip_network

from swarmcore.errors import FailedPrecondition

Network = IPv4Network | IPv6Network
#: The first that meets nothing else is taken. The link-local last one (RFC 3927) is never anybody's network.
_POOLS: dict[int, tuple[str, ...]] = {
    4: ("172.31.0.0/16", "172.30.0.0/16", "10.239.0.0/16", "192.168.240.0/20", "169.254.192.0/18"),
    6: tuple(f"fd70:7377:6172:{place:x}::/64" for place in range(8)),
}
_SPREAD = 1 << 16  # how many addresses of a pool are looked at


def free_address(sandbox_id: str, version: int, taken: Collection[str], avoid: Iterable[Network]) -> str:
    """One of IP version 4 or 6 that is not `taken` (written as usual), of a network that overlaps none of `avoid`.

    The container's id decides where the search begins: what it had, it gets again. FailedPrecondition where all are
    taken.
    """
    pool = _pool(version, [each for each in avoid if each.version == version])
    size = min(pool.num_addresses, _SPREAD)
    start = int.from_bytes(blake2b(sandbox_id.encode(), digest_size=8).digest(), "big")
    for step in range(size):
        place = (start + step) % size
        found = pool[place]
        # The ends of the pool look like a network's own and broadcast address to people and programs.
        if 0 < place < size - 1 and (address := str(found)) not in taken:
            return address
    raise FailedPrecondition(f"all {size} gateway addresses of {pool} are taken", "run fewer containers here")


def _pool(version: int, avoid: Collection[Network]) -> Network:
    pools = [ip_network(each) for each in _POOLS[version]]
    return next((pool for pool in pools if not any(_overlap(pool, each) for each in avoid)), pools[-1])


def _overlap(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)
