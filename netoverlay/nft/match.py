"""What rules usually ask a packet, each as the expressions that do it. Sans-I/O."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from socket import IPPROTO_TCP, IPPROTO_UDP

from netoverlay.nft import expr, types
from netoverlay.nft.expr import Expression
from netoverlay.nft.wire import Family

Match = tuple[Expression, ...]
TCP, UDP, SCTP = bytes([IPPROTO_TCP]), bytes([IPPROTO_UDP]), bytes([132])
_ETHERNET = types.zone(1)  # ARPHRD_ETHER
_LOCAL = 2  # RTN_LOCAL


def family(which: Family) -> Match:
    """In a table of family inet: only IPv4, or only IPv6."""
    return expr.meta(expr.Meta.NFPROTO), expr.equals(bytes([which]))


def protocol(*numbers: bytes) -> Match:
    """The transport protocol is one of these."""
    if len(numbers) == 1:
        return expr.meta(expr.Meta.L4PROTO), expr.equals(numbers[0])
    return expr.meta(expr.Meta.L4PROTO), expr.is_in(types.anonymous(types.PROTOCOL, numbers))


def _interface(load: Expression, names: Sequence[str], inverted: bool) -> Match:
    if len(names) > 1:
        return load, expr.is_in(types.interfaces(names), inverted)
    (name,) = names
    value = name[:-1].encode() if name.endswith("*") else types.interface(name)
    return load, (expr.differs if inverted else expr.equals)(value)


def arrives_on(*names: str, inverted: bool = False) -> Match:
    """iifname; `gv*` is each interface whose name starts with gv."""
    return _interface(expr.meta(expr.Meta.IIFNAME), names, inverted)


def leaves_on(*names: str, inverted: bool = False) -> Match:
    return _interface(expr.meta(expr.Meta.OIFNAME), names, inverted)


def _network(network: str, source: bool, inverted: bool, guarded: bool) -> Match:
    wanted = ip_network(network)
    which = Family.IPV4 if wanted.version == 4 else Family.IPV6
    if which is Family.IPV4:
        load = expr.ip_source() if source else expr.ip_target()
    else:
        load = expr.ip6_source() if source else expr.ip6_target()
    mask = () if wanted.prefixlen == wanted.max_prefixlen else (expr.masked(wanted.netmask.packed),)
    test = (expr.differs if inverted else expr.equals)(wanted.network_address.packed)
    return *(family(which) if guarded else ()), load, *mask, test


def source(network: str, inverted: bool = False, guarded: bool = True) -> Match:
    """The source address is in the network (CIDR or one address).

    `guarded` asks for the family first, as a table of family inet needs it once in a rule.
    """
    return _network(network, True, inverted, guarded)


def target(network: str, inverted: bool = False, guarded: bool = True) -> Match:
    """The destination address is in the network, like `source`."""
    return _network(network, False, inverted, guarded)


def target_is_local(inverted: bool = False) -> Match:
    """The destination is an address of this host (fib daddr type local)."""
    return expr.target_type(), (expr.differs if inverted else expr.equals)(types.mark(_LOCAL))


def source_is_local(inverted: bool = False) -> Match:
    return expr.source_type(), (expr.differs if inverted else expr.equals)(types.mark(_LOCAL))


def target_port(value: int, *protocols: bytes) -> Match:
    return *protocol(*protocols), expr.target_port(), expr.equals(types.port(value))


def state(bits: int) -> Match:
    """The packet's connection is in one of these states (`expr.CtState`)."""
    return expr.ct(expr.Ct.STATE), expr.masked(types.mark(bits)), expr.differs(bytes(4))


def status(bits: int) -> Match:
    """The connection has one of these (`expr.CT_DNAT`, ...)."""
    return expr.ct(expr.Ct.STATUS), expr.masked(types.mark(bits)), expr.differs(bytes(4))


def direction(which: int) -> Match:
    """`expr.CT_ORIGINAL` or `expr.CT_REPLY`."""
    return expr.ct(expr.Ct.DIRECTION), expr.equals(bytes([which]))


def mark(value: int, mask: int) -> Match:
    return expr.meta(expr.Meta.MARK), expr.masked(types.mark(mask)), expr.equals(types.mark(value))


def ct_mark(value: int, mask: int) -> Match:
    return expr.ct(expr.Ct.MARK), expr.masked(types.mark(mask)), expr.equals(types.mark(value))


def ethernet() -> Match:
    """The frame came with an Ethernet header: before its addresses are looked at."""
    return expr.meta(expr.Meta.IIFTYPE), expr.equals(_ETHERNET)
