"""Routes and rules as values, the same whether we ask for one or the kernel tells of it. Sans-I/O.

Layouts: linux/rtnetlink.h, fib_rules.h. Each value has one encoder: what is deleted is named by the same value.
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6

from msgspec import Struct

from netoverlay.netlink.numbers import (
    INVERT,
    ONLINK,
    PROTOCOL,
    RouteKind,
    RoutePart,
    RuleAction,
    RulePart,
    Scope,
    Table,
)
from netoverlay.netlink.wire import (
    attribute,
    attributes,
    pack_address,
    pack_network,
    text,
    u32,
    unpack_address,
)

_HEAD = struct.Struct("=8BI")  # struct rtmsg, and fib_rule_hdr after it
_LARGEST_SHORT_TABLE = 255  # that fits the head; every table is in an attribute, too
_WHOLE_MARK = 0xFFFFFFFF
# A mesh of a thousand nodes has thousands of them: plain ints, in the order of the classes.
(_ROUTE_DESTINATION, _ROUTE_DEVICE, _ROUTE_GATEWAY, _ROUTE_METRIC, _ROUTE_SOURCE, _ROUTE_TABLE) = map(
    int, RoutePart
)
(
    _RULE_DESTINATION,
    _RULE_SOURCE,
    _RULE_ARRIVES_ON,
    _RULE_GOTO,
    _RULE_PRIORITY,
    _RULE_MARK,
    _RULE_TABLE,
    _RULE_MASK,
    _RULE_LEAVES_ON,
    _RULE_PROTOCOL,
) = map(int, RulePart)
_ANY, _TO_TABLE, _GOTO, _NOP = map(
    int, (RuleAction.ANY, RuleAction.TO_TABLE, RuleAction.GOTO, RuleAction.NOP)
)
_UNICAST = int(RouteKind.UNICAST)
_GLOBAL, _LINK, _NOWHERE = map(int, (Scope.GLOBAL, Scope.LINK, Scope.NOWHERE))


class Route(Struct, frozen=True):
    """`destination` is a CIDR or "default" of `family` (or the gateway's); `index` the device.

    `scope` None: the link where there is no gateway. `kind` is a RouteKind, or another RTN_*. `onlink`: the gateway is
    on the device even if no address says so; the kernel's answers do not say it.
    """

    destination: str
    index: int = 0
    gateway: str = ""
    source: str = ""
    table: int = Table.MAIN
    scope: int | None = None
    metric: int = 0
    kind: int = RouteKind.UNICAST
    protocol: int = PROTOCOL
    family: int = 0
    onlink: bool = False


class Rule(Struct, frozen=True, order=True):
    """It fits packets whose mark under `mask` is `mark` (`mask` 0: the whole mark) and so on, or with `invert` all
    others. `source` and `destination` are CIDRs, of whose family it is then; `iif` and `oif` names of devices.

    It looks into `table`, or goes on at priority `goto`, or (with neither) does nothing; those of others may refuse:
    `refusal` is the RuleAction.
    """

    family: int
    priority: int
    table: int = 0
    goto: int = 0
    mark: int = 0
    mask: int = 0
    iif: str = ""
    oif: str = ""
    source: str = ""
    destination: str = ""
    invert: bool = False
    refusal: int = 0
    protocol: int = PROTOCOL

    @property
    def action(self) -> int:
        """A RuleAction, or another FR_ACT_*."""
        if self.goto:
            return _GOTO
        return _TO_TABLE if self.table else self.refusal or _NOP


def encode_route(route: Route, to_delete: bool = False) -> bytes:
    """The body of a request. With `to_delete` it fits what is there by destination, device, gateway, table and metric,
    and by its kind where that is not the usual one."""
    family, bits, scope, parts = route.family, 0, route.scope, []
    if route.destination != "default":
        family, packed, bits = pack_network(route.destination)
        parts.append(attribute(_ROUTE_DESTINATION, packed))
    if route.gateway:
        via, packed = pack_address(route.gateway)
        family = family or via
        parts.append(attribute(_ROUTE_GATEWAY, packed))
    if scope is None:
        beyond = route.gateway or route.kind != _UNICAST
        scope = _GLOBAL if beyond else _LINK
    if family == AF_INET6:
        scope = _GLOBAL
    if route.index:
        parts.append(attribute(_ROUTE_DEVICE, route.index))
    if route.source and not to_delete:
        parts.append(attribute(_ROUTE_SOURCE, pack_address(route.source)[1]))
    if route.metric:
        parts.append(attribute(_ROUTE_METRIC, route.metric))
    parts.append(attribute(_ROUTE_TABLE, route.table))
    table = route.table if route.table <= _LARGEST_SHORT_TABLE else 0
    if to_delete:
        kind = 0 if route.kind == _UNICAST else route.kind
        head = _HEAD.pack(family or AF_INET, bits, 0, 0, table, 0, _NOWHERE, kind, 0)
    else:
        flags = ONLINK if route.onlink else 0
        head = _HEAD.pack(family or AF_INET, bits, 0, 0, table, route.protocol, scope, route.kind, flags)
    return head + b"".join(parts)


def read_route(body: bytes) -> Route:
    family, bits, _, _, table, protocol, scope, kind, _ = _HEAD.unpack_from(body)
    found = attributes(body, _HEAD.size)
    gateway, source = found.get(_ROUTE_GATEWAY), found.get(_ROUTE_SOURCE)
    return Route(
        destination=_network(found.get(_ROUTE_DESTINATION), bits, "default"),
        index=_number(found.get(_ROUTE_DEVICE), 0),
        gateway=unpack_address(gateway) if gateway is not None else "",
        source=unpack_address(source) if source is not None else "",
        table=_number(found.get(_ROUTE_TABLE), table),
        scope=scope,
        metric=_number(found.get(_ROUTE_METRIC), 0),
        kind=kind,
        protocol=protocol,
        family=family,
    )


def encode_rule(rule: Rule, to_delete: bool = False) -> bytes:
    """The body of a request. With `to_delete`, a rule that does nothing stands for whatever it does."""
    family, bits = rule.family, {_RULE_DESTINATION: 0, _RULE_SOURCE: 0}
    parts = [
        attribute(_RULE_PRIORITY, rule.priority),
        attribute(_RULE_PROTOCOL, bytes([rule.protocol])),
    ]
    for part, network in ((_RULE_DESTINATION, rule.destination), (_RULE_SOURCE, rule.source)):
        if network:
            family, packed, bits[part] = pack_network(network)
            parts.append(attribute(part, packed))
    if rule.iif:
        parts.append(attribute(_RULE_ARRIVES_ON, rule.iif))
    if rule.oif:
        parts.append(attribute(_RULE_LEAVES_ON, rule.oif))
    if rule.mark or rule.mask:
        parts.append(attribute(_RULE_MARK, rule.mark))
        parts.append(attribute(_RULE_MASK, rule.mask or _WHOLE_MARK))
    if rule.goto:
        parts.append(attribute(_RULE_GOTO, rule.goto))
    elif rule.table:
        parts.append(attribute(_RULE_TABLE, rule.table))
    action = rule.action
    if to_delete and action == _NOP:
        action = _ANY
    lengths = bits[_RULE_DESTINATION], bits[_RULE_SOURCE]
    return _HEAD.pack(family, *lengths, 0, 0, 0, 0, action, INVERT if rule.invert else 0) + b"".join(parts)


def read_rule(body: bytes) -> Rule:
    family, to_bits, from_bits, _, table, _, _, action, flags = _HEAD.unpack_from(body)
    found = attributes(body, _HEAD.size)
    return Rule(
        family=family,
        priority=_number(found.get(_RULE_PRIORITY), 0),
        table=_number(found.get(_RULE_TABLE), table),
        goto=_number(found.get(_RULE_GOTO), 0),
        mark=_number(found.get(_RULE_MARK), 0),
        mask=_number(found.get(_RULE_MASK), 0),
        iif=text(found.get(_RULE_ARRIVES_ON, b"")),
        oif=text(found.get(_RULE_LEAVES_ON, b"")),
        source=_network(found.get(_RULE_SOURCE), from_bits, ""),
        destination=_network(found.get(_RULE_DESTINATION), to_bits, ""),
        invert=bool(flags & INVERT),
        refusal=action if action > _NOP else 0,
        protocol=found.get(_RULE_PROTOCOL, b"\0")[0],
    )


def _number(value: bytes | None, default: int) -> int:
    return default if value is None else u32(value)


def _network(value: bytes | None, bits: int, default: str) -> str:
    return default if value is None else f"{unpack_address(value)}/{bits}"
