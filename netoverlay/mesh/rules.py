"""The host's nftables rules for published ports and the containers' way out: the table `pyswarm-mesh`. Pure.

    client -> any node: prerouting translates to a replica's ingress address, nobody masquerades the client
           -> over vxi to the replica's host: marks and zones by the MAC of the node it came through
           -> gv… -> gw0 in the container, whose reply its host leads back to that node by the connection's mark

This frame is the same on every host; what differs (`netoverlay.mesh.parts`) is elements of its sets, one chain per
published port, and the chain `own` with this node's addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from netoverlay.mesh.routes import DEVICE, MARK, MARK_MASK
from netoverlay.nft import expr, match, types
from netoverlay.nft.expr import Expression, Meta
from netoverlay.nft.plan import Plans
from netoverlay.nft.table import Base, Chain, Hook, NamedSet, Part, Rule, rule
from netoverlay.nft.types import (
    ETHER,
    INTERFACE,
    IPV4,
    IPV6,
    PORT,
    PROTOCOL,
    VERDICT,
    ZONE,
    concatenation,
    jump,
)
from netoverlay.nft.wire import Family

TABLE = "pyswarm-mesh"
WIRES = "gv*"  # the host's ends of the containers' wires
plans = Plans(Family.INET, TABLE)
VERSIONS = ((Family.IPV4, IPV4, "4"), (Family.IPV6, IPV6, "6"))
_FIRST, _MANGLE, _TRANSLATE, _FILTER, _SOURCE = -300, -150, -100, 0, 100  # NF_IP_PRI_*
_LAST = 300  # before a packet is routed, behind everybody's filters
_LOOPBACKS = ("127.0.0.0/8", "::1")
_PORT = concatenation(PROTOCOL, PORT)


@lru_cache(maxsize=1)
def frame() -> Part:
    """What is the same on every host."""
    return Part(chains=_chains(), sets=_sets())


def _chains() -> dict[str, Chain]:
    translate = (
        *(rule(match.target_is_local(), *each) for each in (_forward(4), _forward(6), _balance())),
        *(rule(*_virtual(family, version)) for family, _, version in VERSIONS),
    )
    return {
        "raw": Chain(_raw(), _base("filter", Hook.PREROUTING, _FIRST)),
        "marks": Chain(_remember(), _base("filter", Hook.PREROUTING, _MANGLE)),
        "ways-back": Chain(_back(), _base("filter", Hook.PREROUTING, _LAST)),
        "translate": Chain(translate, _base("nat", Hook.PREROUTING, _TRANSLATE)),
        "translate-own": Chain(translate, _base("nat", Hook.OUTPUT, _TRANSLATE)),
        "input": Chain(_input(), _base("filter", Hook.INPUT, _FILTER)),
        "forward": Chain(_through(), _base("filter", Hook.FORWARD, _FILTER)),
        "unmark": Chain(_unmark(), _base("filter", Hook.POSTROUTING, _MANGLE)),
        "source": Chain(_source(), _base("nat", Hook.POSTROUTING, _SOURCE)),
        "refuse": Chain(
            (
                rule(match.protocol(match.TCP), expr.reject_with_reset(), note="refuse"),
                rule(expr.reject_as_unreachable(), note="refuse"),
            )
        ),
    }


def _sets() -> dict[str, NamedSet]:
    return {
        "numbers": NamedSet(key=ETHER, value=types.MARK),
        "zones": NamedSet(key=ETHER, value=ZONE),
        "balanced": NamedSet(key=_PORT, value=VERDICT),
        "refused": NamedSet(key=_PORT),
        "closed": NamedSet(key=INTERFACE),
        **{
            f"{name}{version}": declared
            for _, address, version in VERSIONS
            for name, declared in {
                "host-ports": NamedSet(key=_PORT, value=concatenation(address, PORT)),
                "virtual": NamedSet(key=concatenation(address, PROTOCOL, PORT), value=VERDICT),
                "nodes": NamedSet(key=address),
                "outsiders": NamedSet(key=address),
                "senders": NamedSet(key=concatenation(INTERFACE, address)),
                "selves": NamedSet(key=concatenation(address, address)),
                "reachable": NamedSet(key=concatenation(address, PROTOCOL, PORT)),
            }.items()
        },
    }


def _base(kind: str, hook: Hook, priority: int) -> Base:
    return Base(kind=kind, hook=hook, priority=priority)


# -- what comes in -------------------------------------------------------------------------------------
def _raw() -> tuple[Rule, ...]:
    return (
        # route_localnet is on: without this, containers and other hosts would reach what listens on 127.0.0.1.
        rule(
            match.arrives_on(DEVICE, WIRES),
            match.target(_LOOPBACKS[0]),
            expr.verdict(types.DROP),
            note="loopback from outside",
        ),
        # A container's wire leads here alone, so that nothing but its own address has an answer.
        *(
            rule(
                *(match.arrives_on(WIRES), match.family(family), expr.meta(Meta.IIFNAME), source),
                *(expr.is_in(f"senders{version}", inverted=True), expr.verdict(types.DROP)),
                note="an address of somebody else",
            )
            for family, source, version in (
                (Family.IPV4, expr.ip_source(4), "4"),
                (Family.IPV6, expr.ip6_source(4), "6"),
            )
        ),
        *_by_node(),
    )


def _by_node() -> tuple[Rule, ...]:
    """Through which node a packet came is told by the MAC it has from the mesh."""
    sender = (*match.arrives_on(DEVICE), *match.ethernet(), expr.ether_source())
    return (
        # By its mark rp_filter finds that a client's address is valid on vxi.
        rule(sender, expr.mapped("numbers"), expr.set_mark(), note="came through this node"),
        # One client port used with two nodes is one 5-tuple here: apart by zone, translation gives one another port.
        rule(sender, expr.mapped("zones"), expr.set_ct_zone(expr.CT_ORIGINAL), note="a zone for each node"),
        # From a node that is not known here yet: the answer would not find its way. TCP sends it again.
        rule(
            match.arrives_on(DEVICE),
            expr.meta(Meta.MARK),
            expr.masked(types.mark(MARK_MASK)),
            expr.differs(types.mark(MARK)),
            expr.verdict(types.DROP),
            note="unknown node",
        ),
    )


def _remember() -> tuple[Rule, ...]:
    return (
        rule(
            match.arrives_on(DEVICE),
            match.state(expr.CtState.NEW),
            expr.meta(Meta.MARK),
            expr.set_ct_mark(),
            note="remember the node",
        ),
    )


def _back() -> tuple[Rule, ...]:
    """Only routing shall meet the mark of a reply: by it, others' reverse path filters (firewalld's `fib saddr . mark .
    iif`) would look for the container's own address behind the node."""
    return (
        rule(
            match.arrives_on(WIRES),
            match.direction(expr.CT_REPLY),
            match.ct_mark(MARK, MARK_MASK),
            expr.ct(expr.Ct.MARK),
            expr.set_mark(),
            note="back to the node",
        ),
    )


def _key() -> tuple[Expression, ...]:
    return expr.meta(Meta.L4PROTO), expr.target_port(1)


def _forward(version: int) -> tuple[Iterable[Expression], ...]:
    """Ports of mode host."""
    family, words = (Family.IPV4, 1) if version == 4 else (Family.IPV6, 4)
    return (
        match.family(family),
        _key(),
        (expr.mapped(f"host-ports{version}"), expr.dnat(family, 0, words)),
    )


def _balance() -> tuple[Iterable[Expression], ...]:
    return _key(), (expr.decided("balanced"),)


def _virtual(family: Family, version: str) -> tuple[Iterable[Expression], ...]:
    """A service's own address, with which it answers on every node."""
    target, words = (expr.ip_target(), 1) if family is Family.IPV4 else (expr.ip6_target(), 4)
    return (
        match.family(family),
        (target, expr.meta(Meta.L4PROTO, words), expr.target_port(words + 1)),
        (expr.decided(f"virtual{version}"),),
    )


# -- filters -------------------------------------------------------------------------------------------
def _input() -> tuple[Rule, ...]:
    """What was not translated has arrived at the host itself."""
    fresh = match.state(expr.CtState.NEW)
    return (
        rule(fresh, _key(), expr.is_in("refused"), expr.verdict(jump("refuse")), note="no replicas"),
        rule(fresh, _from_closed(), expr.verdict(jump("refuse")), note="internal networks only"),
    )


def _from_closed() -> tuple[Expression, ...]:
    return expr.meta(Meta.IIFNAME), expr.is_in("closed")


def _through() -> tuple[Rule, ...]:
    reachable = tuple(
        rule(
            match.arrives_on(DEVICE),
            match.leaves_on(WIRES),
            match.family(family),
            expr.ip_target() if family is Family.IPV4 else expr.ip6_target(),
            expr.meta(Meta.L4PROTO, words),
            expr.target_port(words + 1),
            expr.is_in(f"reachable{version}"),
            expr.verdict(types.ACCEPT),
            note="to a published port",
        )
        for family, version, words in ((Family.IPV4, "4", 1), (Family.IPV6, "6", 4))
    )
    return (
        rule(
            match.state(expr.CtState.ESTABLISHED | expr.CtState.RELATED),
            expr.verdict(types.ACCEPT),
            note="known connections",
        ),
        rule(_from_closed(), expr.verdict(jump("refuse")), note="internal networks only"),
        rule(match.status(expr.CT_DNAT), expr.verdict(types.ACCEPT), note="to a published port"),
        *reachable,
        rule(match.arrives_on(DEVICE), expr.verdict(types.DROP), note="nothing else from other nodes"),
        rule(match.leaves_on(DEVICE, WIRES), expr.verdict(types.DROP), note="nothing else to containers"),
    )


# -- what goes out -------------------------------------------------------------------------------------
def _unmark() -> tuple[Rule, ...]:
    # VXLAN looks up the route of its outer packet with the mark of the inner one: back into vxi, for ever.
    return (rule(match.mark(MARK, MARK_MASK), expr.immediate(types.mark(0)), expr.set_mark(), note="unmark"),)


def _source() -> tuple[Rule, ...]:
    own = expr.verdict(jump("own"))
    from_localhost = (
        rule(match.leaves_on(DEVICE, WIRES), match.source(loopback), own, note="from localhost")
        for loopback in _LOOPBACKS
    )
    translated = (each for family, _, version in VERSIONS for each in _translated(family, version, own))
    out = (*match.arrives_on(WIRES), *match.leaves_on(DEVICE, WIRES, inverted=True))
    return (*from_localhost, *translated, rule(out, expr.masquerade(), note="the way out"))


def _translated(family: Family, version: str, own: Expression) -> tuple[Rule, ...]:
    """What goes to a replica and would not find back with the source that it has."""
    six = family is Family.IPV6
    source = expr.ip6_source() if six else expr.ip_source()
    target = expr.ip6_target(4) if six else expr.ip_target(1)
    translated = match.status(expr.CT_DNAT)
    return (
        rule(
            *(match.family(family), translated, source, target, expr.is_in(f"selves{version}"), own),
            note="a container that reached itself",
        ),
        # Its replica may be on that very node, which takes no packets from itself off the wire.
        rule(
            *(match.leaves_on(DEVICE, WIRES), match.family(family), translated, source),
            *(expr.is_in(f"nodes{version}"), match.source_is_local(inverted=True), own),
            note="from another node",
        ),
        rule(
            *(match.leaves_on(DEVICE), match.family(family), translated, source),
            *(expr.is_in(f"outsiders{version}"), own),
            note="from a container without an ingress address",
        ),
    )
