"""What a container's port of a bridge lets in: frames with the MAC and the addresses that the container was given.

Docker lets every container with NET_RAW (all, by default) speak in its neighbours' name. Here the source MAC, the
source address, the sender of ARP, and what neighbour discovery claims are compared where the frame enters the bridge;
routers' advertisements and redirects of containers are nobody's. Table `pyswarm-ports`, one in each namespace with
such bridges: one look-up a frame of IP, whatever the number of containers. Blocking.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address

from msgspec import Struct

from netoverlay.netns import Namespace
from netoverlay.nft import expr, match, types
from netoverlay.nft.expr import Expression, Meta
from netoverlay.nft.keeper import KeptTable
from netoverlay.nft.plan import Plans
from netoverlay.nft.socket import NftError
from netoverlay.nft.table import Base, Chain, Hook, NamedSet, Part, Rule, rule
from netoverlay.nft.types import ETHER, INTERFACE, IPV4, IPV6, Value, concatenation
from netoverlay.nft.wire import Family
from swarmcore.addresses import bare

log = logging.getLogger(__name__)
TABLE = "pyswarm-ports"
_plans = Plans(Family.BRIDGE, TABLE)
_BEFORE_OTHERS = -300
_NONE4, _NONE6 = "0.0.0.0", "::"  # the source of who has no address yet, or asks whether one is free
_IP, _IP6, _ARP = b"\x08\x00", b"\x86\xdd", b"\x08\x06"  # ETH_P_*, as packets have them
_VLANS = (b"\x81\x00", b"\x88\xa8")
_ETHERNET_IPV4 = (
    b"\x00\x01\x08\x00\x06\x04"  # RFC 826: hardware and protocol, and the lengths of their addresses
)
_ICMPV6 = b"\x3a"
_ROUTER, _ASK, _CLAIM, _REDIRECT = b"\x86", b"\x87", b"\x88", b"\x89"  # RFC 4861, 4.2 to 4.5
# The words of a key: the port's name, the MAC, the address.
_MAC, _ADDRESS = 4, 6
# What a kernel without nftables for bridges answers.
_UNSUPPORTED = (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


class Port(Struct, frozen=True, kw_only=True):
    """`name` of the device in the bridge; what the container was given, addresses with or without prefix length.

    `free`: not checked at all (VRRP and other programs that take over addresses).
    """

    name: str
    mac: str
    addresses: tuple[str, ...]
    free: bool = False


class PortChecks:
    """Of the bridges in `namespace`. `ours` and `exempt` are beginnings of the names of their ports: those that are
    checked, and those of them that are not containers'."""

    def __init__(self, namespace: Namespace, ours: str, exempt: str = "") -> None:
        self._namespace = namespace
        self._frame = _frame(ours, exempt)
        self._ports: dict[str, tuple[Port, Part]] = {}
        self._table: KeptTable | None = None
        self._stale = False
        self._unsupported = False

    def put(self, port: Port) -> None:
        """Before the device is there: from then on nothing else passes. NetlinkError for what the kernel refuses."""
        self._note(port)
        self._apply()

    def drop(self, name: str) -> None:
        """The port goes; that nothing of it is kept need not be at once."""
        self._stale = self._ports.pop(name, None) is not None or self._stale

    def reset(self, ports: Iterable[Port]) -> int:
        """These and no others; the number of differences that the kernel had."""
        wanted = {port.name: port for port in ports}
        for name in self._ports.keys() - wanted.keys():
            self.drop(name)
        for port in wanted.values():
            self._note(port)
        return self.reconcile()

    def reconcile(self) -> int:
        """Repair what is not as it was last wanted; the number of differences found."""
        if self._stale:
            self._apply()
        return self._table.reconcile() if self._table is not None else 0

    def remove(self) -> None:
        """Nothing of ours is left, nor of an earlier daemon."""
        self._ports.clear()
        try:
            (self._table or KeptTable(self._namespace.nft, _plans)).remove()
        except NftError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        self._table, self._stale = None, False

    def _note(self, port: Port) -> None:
        known = self._ports.get(port.name)
        if known is None or known[0] != port:
            self._ports[port.name] = (port, _given(port))
            self._stale = True

    def _apply(self) -> None:
        self._stale = False
        if self._unsupported or not (self._ports or self._table):
            return
        table = self._table or KeptTable(self._namespace.nft, _plans, apart=True)
        try:
            table.keep((self._frame, *(part for _, part in self._ports.values())))
        except NftError as error:
            if self._table is not None or error.errno not in _UNSUPPORTED:
                self._stale = True
                raise
            self._unsupported = True
            log.error(
                "containers can use addresses of others: this kernel has no nftables for bridges",
                extra={
                    "namespace": self._namespace.name,
                    "reason": str(error),
                    "hint": 'see "pyswarm doctor"',
                },
            )
            return
        self._table = table


def link_local(mac: str) -> str:
    """The address that the kernel makes of a MAC (RFC 4291, appendix A)."""
    one = types.ether(mac)
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + bytes([one[0] ^ 2]) + one[1:3] + b"\xff\xfe" + one[3:]))


def _given(port: Port) -> Part:
    name, mac = types.interface(port.name), types.ether(port.mac)
    if port.free:
        return Part(elements={"free": {name: None}})
    own = [bare(each) for each in port.addresses]
    sixes = [each for each in own if ":" in each]
    fours = [each for each in own if ":" not in each]
    elements: dict[str, dict[bytes, Value]] = {
        kind: {types.key(name, mac, types.ip(each)): None for each in addresses}
        for kind, addresses in (
            ("given4", (_NONE4, *fours)),
            ("given6", (_NONE6, link_local(port.mac), *sixes)),
        )
    }
    return Part(elements=elements)


# -- rules ---------------------------------------------------------------------------------------------
@lru_cache(maxsize=4)
def _frame(ours: str, exempt: str) -> Part:
    accept, drop = expr.verdict(types.ACCEPT), expr.verdict(types.DROP)
    own = rule(_kind(_IP), _sender(expr.ip_source(_ADDRESS)), expr.is_in("given4"), accept, note="its own")
    others = rule(match.arrives_on(f"{ours}*", inverted=True), accept, note="not ours")
    # Where nearly all that comes is containers', they shall not wait for the question whose it is.
    first: tuple[Rule, ...] = (others, own)
    if exempt:
        first = (own, rule(match.arrives_on(f"{exempt}*"), accept, note="not a container's"), others)
    checked = (
        *first,
        rule(
            *(_kind(_IP6), _sender(expr.ip6_source(_ADDRESS)), expr.is_in("given6")),
            expr.verdict(types.goto("icmp6")),
            note="its own",
        ),
        rule(expr.meta(Meta.IIFNAME), expr.is_in("free"), accept, note="antispoof=off"),
        rule(_kind(_ARP), expr.verdict(types.goto("arp")), note="ARP"),
        # Within a second tag anything could be.
        *(rule(_kind(each), drop, note="tagged twice") for each in _VLANS),
        *(rule(_kind(each), drop, note="of somebody else") for each in (_IP, _IP6)),
        rule(_sender(_nobody(4)), expr.is_in("given4"), accept, note="another protocol"),
        rule(drop, note="of somebody else"),
    )
    return Part(
        chains={
            "icmp6": Chain(_icmp6()),
            "target": Chain(_target()),
            "arp": Chain(_arp()),
            "ports": Chain(checked, Base(kind="filter", hook=Hook.PREROUTING, priority=_BEFORE_OTHERS)),
        },
        sets={
            "given4": NamedSet(key=concatenation(INTERFACE, ETHER, IPV4)),
            "given6": NamedSet(key=concatenation(INTERFACE, ETHER, IPV6)),
            "free": NamedSet(key=INTERFACE),
        },
    )


def _kind(ethertype: bytes) -> tuple[Expression, ...]:
    """Of the packet behind one tag at most: a tag of no VLAN (0) does not hide what the receiver takes it for."""
    return expr.meta(Meta.PROTOCOL), expr.equals(ethertype)


def _sender(address: Expression) -> tuple[Expression, ...]:
    """The key that says who sends: `address` is loaded behind port and MAC."""
    return expr.meta(Meta.IIFNAME), expr.ether_source(_MAC), address


def _nobody(version: int) -> Expression:
    return expr.immediate(types.ip(_NONE4 if version == 4 else _NONE6), _ADDRESS)


def _icmp6() -> tuple[Rule, ...]:
    """With a source that is the container's own, or none."""
    accept, drop = expr.verdict(types.ACCEPT), expr.verdict(types.DROP)
    kind = expr.payload(expr.Base.TRANSPORT, 0, 1)
    from_none = (expr.ip6_source(), expr.equals(types.ip(_NONE6)))
    other = (expr.meta(Meta.L4PROTO), expr.differs(_ICMPV6))
    return (
        rule(other, from_none, drop, note="from nobody"),
        rule(other, accept, note="no ICMPv6"),
        rule(kind, expr.equals(_ROUTER), drop, note="no router"),
        rule(kind, expr.equals(_REDIRECT), drop, note="no router"),
        rule(kind, expr.equals(_CLAIM), expr.verdict(types.goto("target")), note="claims an address"),
        rule(
            *(kind, expr.equals(_ASK), from_none),
            expr.verdict(types.goto("target")),
            note="asks whether an address is free",
        ),
    )


def _target() -> tuple[Rule, ...]:
    target = expr.payload(expr.Base.TRANSPORT, 8, 16, _ADDRESS)
    return (
        rule(_sender(target), expr.is_in("given6"), expr.verdict(types.ACCEPT), note="its own"),
        rule(expr.verdict(types.DROP), note="of somebody else"),
    )


def _arp() -> tuple[Rule, ...]:
    drop = expr.verdict(types.DROP)
    said = (
        expr.meta(Meta.IIFNAME),
        expr.payload(expr.Base.NETWORK, 8, 6, _MAC),
        expr.payload(expr.Base.NETWORK, 14, 4, _ADDRESS),
    )
    return (
        rule(expr.payload(expr.Base.NETWORK, 0, 6), expr.differs(_ETHERNET_IPV4), drop, note="not of IPv4"),
        rule(_sender(_nobody(4)), expr.is_in("given4", inverted=True), drop, note="of somebody else"),
        rule(said, expr.is_in("given4"), expr.verdict(types.ACCEPT), note="its own"),
        rule(drop, note="of somebody else"),
    )
