"""What one container gets to hear: which of its networks knows a name, and the records of the answer. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from netoverlay.dns.message import AAAA, IN, PTR, SRV, A, Query, encode_name, record
from netoverlay.dns.records import TASKS, Addresses, Names
from swarmcore.model.endpoint import PortConfig

# As Docker's. Short lives would be more careful, but what caches names within a container (a JVM, nginx) takes
# its own time anyway; a virtual IP does not change while its service lives.
TTL = 600

_V4_TREE, _V6_TREE = b".in-addr.arpa", b".ip6.arpa"
_SIZES = {A: 4, AAAA: 16}


class Answer(Struct, frozen=True, kw_only=True):
    """Records in wire form. No records: the name exists, but not with this type (NOERROR, empty)."""

    records: tuple[bytes, ...] = ()
    extras: tuple[bytes, ...] = ()


class View:
    """The names that a container sees: those of its own networks, in the order of its interfaces.

    `networks` is asked each time: it makes the names of a changed network only when somebody wants them.
    `own` are the container's host name (lower case) and addresses, known before the swarm has them active.
    """

    def __init__(
        self, networks: Callable[[], Sequence[Names]], own_name: bytes = b"", own: Addresses = ()
    ) -> None:
        self._networks = networks
        self._own_name = own_name
        self._own = own

    def answer(self, query: Query) -> Answer | None:
        """None: no name of the swarm's; somebody else may know it."""
        name, networks = query.name, self._networks()
        if name is None or not name or query.cls != IN:
            return None
        if query.type == PTR and (address := address_of(name)) is not None:
            return _pointer(networks, address)
        if query.type == SRV and name.startswith(b"_"):
            return self._service(networks, name)
        found = find(networks, name)
        if found is not None:
            return Answer(records=addresses(query.type, found[0].addresses[found[1]]))
        if name == self._own_name:
            return Answer(records=addresses(query.type, self._own))
        return None

    def _service(self, networks: Sequence[Names], name: bytes) -> Answer | None:
        """`_port._proto.service`: one record for each address's name, be it the service's or its tasks'."""
        port, _, rest = name.partition(b".")
        protocol, _, service = rest.partition(b".")
        if not protocol.startswith(b"_") or (found := find(networks, service)) is None:
            return None
        names, alias = found
        tasks = alias.startswith(TASKS)
        wanted = [
            each
            for each in names.ports.get(alias.removeprefix(TASKS) if tasks else alias, ())
            if each.protocol.value.encode() == protocol[1:] and _is_called(each, port[1:])
        ]
        records, extras = [], []
        for target, place in _targets(names, alias):
            for each in dict.fromkeys(each.target_port for each in wanted):
                weights = b"\0\0\0\0"  # priority and weight: all alike
                records.append(record(SRV, TTL, weights + each.to_bytes(2, "big") + target))
            if wanted:
                extras += [record(_type(address), TTL, address, target) for address in place]
        return Answer(records=tuple(records), extras=tuple(extras))


def _is_called(port: PortConfig, name: bytes) -> bool:
    numbers = (port.target_port, port.published_port)
    return port.name.lower().encode() == name or (name.isdigit() and int(name) in numbers)


def _targets(names: Names, alias: bytes) -> list[tuple[bytes, Addresses]]:
    """The host names (wire form) behind a service's name, with their addresses."""
    hosts: dict[bytes, list[bytes]] = {}
    for address in names.addresses[alias]:
        host = names.pointers.get(address)
        if host is not None and (wire := _wire(host)) is not None:
            hosts.setdefault(wire, []).append(address)
    return [(host, tuple(found)) for host, found in hosts.items()]


def _wire(name: bytes) -> bytes | None:
    """None for a name that DNS cannot carry, as an alias of more than 63 letters."""
    try:
        return encode_name(name)
    except ValueError:
        return None


def find(networks: Sequence[Names], name: bytes) -> tuple[Names, bytes] | None:
    """The first network that has addresses for `name`, and its name there; else the first that knows it at all.

    As in Docker names may have dots, and so may networks: a.b.c is looked up whole in every network, then as
    a.b in the network c, then as a in b.c.
    """
    known: tuple[Names, bytes] | None = None
    end, network = len(name), b""
    while end > 0:
        plain = name[:end]
        for names in networks:
            if network and names.network != network:
                continue
            found = names.addresses.get(plain)
            if found:
                return names, plain
            if found is not None and known is None:
                known = names, plain
        end = name.rfind(b".", 0, end)
        network = name[end + 1 :]
    return known


def addresses(kind: int, found: Addresses) -> tuple[bytes, ...]:
    """The records of type `kind` about addresses; none for another type, as about mail exchangers."""
    size = _SIZES.get(kind)
    return tuple(record(kind, TTL, address) for address in found if len(address) == size)


def _type(address: bytes) -> int:
    return A if len(address) == 4 else AAAA


def _pointer(networks: Sequence[Names], address: bytes) -> Answer | None:
    for names in networks:
        host = names.pointers.get(address)
        if host is not None and (wire := _wire(host)) is not None:
            return Answer(records=(record(PTR, TTL, wire),))
    return None


def address_of(name: bytes) -> bytes | None:
    """The address that a name of a reverse tree (RFC 1035 3.5, RFC 3596 2.5) stands for."""
    if name.endswith(_V4_TREE):
        parts = name.removesuffix(_V4_TREE).split(b".")
        if len(parts) == 4 and all(part.isdigit() and len(part) <= 3 and int(part) < 256 for part in parts):
            return bytes(int(part) for part in reversed(parts))
    elif name.endswith(_V6_TREE):
        nibbles = name.removesuffix(_V6_TREE).split(b".")
        if len(nibbles) == 32 and all(len(n) == 1 and n in b"0123456789abcdef" for n in nibbles):
            return bytes.fromhex(b"".join(reversed(nibbles)).decode())
    return None
