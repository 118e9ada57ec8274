"""Routes and rules, byte for byte as pyroute2 encodes them, and read as they were written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.numbers import RouteKind
from netoverlay.netlink.routing import Route, Rule, read_route, read_rule
from tests.netoverlay.netlink.reference import (
    V4,
    V6,
    Attributes,
    asked,
    families,
    indices,
    names,
    theirs,
    words,
)


@given(families, indices, words, st.integers(0, 2**32 - 1), st.booleans(), st.data())
def test_a_route(
    family: tuple[int, Any, int],
    index: int,
    table: int,
    metric: int,
    onlink: bool,
    data: st.DataObject,
) -> None:
    target, bits = data.draw(family[1]), data.draw(st.integers(0, family[2]))
    gateway, source = data.draw(family[1]), data.draw(family[1])
    route = Route(
        f"{target}/{bits}",
        index=index,
        gateway=gateway,
        source=source,
        table=table,
        scope=0,
        metric=metric,
        family=family[0],
        onlink=onlink,
    )
    wanted: Attributes = [
        ("RTA_DST", target),
        ("RTA_GATEWAY", gateway),
        ("RTA_OIF", index),
        ("RTA_PREFSRC", source),
        *([("RTA_PRIORITY", metric)] if metric else []),
        ("RTA_TABLE", table),
    ]
    fields = {"family": family[0], "dst_len": bits, "table": table if table < 256 else 0}
    ours = {"proto": 0x50, "scope": 0, "type": 1, "flags": 4 if onlink else 0}
    body = theirs(rtmsg, wanted, **fields, **ours)
    assert asked(lambda batch: batch.put_route(replace(route, scope=None, family=0))) == (24, 0x500, body)
    assert read_route(body) == replace(route, onlink=False)


@pytest.mark.parametrize(
    ("queue", "attributes", "fields"),
    [
        (
            lambda batch: batch.put_route(Route("10.9.0.0/16", index=7)),
            [("RTA_DST", "10.9.0.0"), ("RTA_OIF", 7), ("RTA_TABLE", 254)],
            {"family": V4, "dst_len": 16, "table": 254, "proto": 0x50, "scope": 253, "type": 1},
        ),
        (
            lambda batch: batch.put_route(Route("fd09::/64", index=7)),
            [("RTA_DST", "fd09::"), ("RTA_OIF", 7), ("RTA_TABLE", 254)],
            {"family": V6, "dst_len": 64, "table": 254, "proto": 0x50, "scope": 0, "type": 1},
        ),
        (
            lambda batch: batch.put_route(Route("default", gateway="fd01::9")),
            [("RTA_GATEWAY", "fd01::9"), ("RTA_TABLE", 254)],
            {"family": V6, "table": 254, "proto": 0x50, "scope": 0, "type": 1},
        ),
        (
            lambda batch: batch.put_route(Route("10.8.0.0/16", kind=RouteKind.BLACKHOLE, table=70_000)),
            [("RTA_DST", "10.8.0.0"), ("RTA_TABLE", 70_000)],
            {"family": V4, "dst_len": 16, "proto": 0x50, "scope": 0, "type": 6},
        ),
        (
            lambda batch: batch.put_route(
                Route("::1/128", index=7, table=255, kind=RouteKind.LOCAL, metric=4007)
            ),
            [("RTA_DST", "::1"), ("RTA_OIF", 7), ("RTA_PRIORITY", 4007), ("RTA_TABLE", 255)],
            {"family": V6, "dst_len": 128, "table": 255, "proto": 0x50, "scope": 0, "type": 2},
        ),
    ],
    ids=["on the link", "on the link, IPv6", "default", "blackhole", "local"],
)
def test_routes_of_every_kind(
    queue: Callable[[RouteBatch], None], attributes: Attributes, fields: dict[str, int]
) -> None:
    assert asked(queue) == (24, 0x500, theirs(rtmsg, attributes, **fields))


@pytest.mark.parametrize(
    ("queue", "attributes", "fields"),
    [
        (
            lambda batch: batch.delete_route(Route("10.9.0.0/16")),
            [("RTA_DST", "10.9.0.0"), ("RTA_TABLE", 254)],
            {"family": V4, "dst_len": 16, "table": 254, "scope": 255},
        ),
        (
            lambda batch: batch.delete_route(
                Route("default", gateway="fd01::9", index=7, table=7001, metric=3)
            ),
            [("RTA_GATEWAY", "fd01::9"), ("RTA_OIF", 7), ("RTA_PRIORITY", 3), ("RTA_TABLE", 7001)],
            {"family": V6, "scope": 255},
        ),
        (
            lambda batch: batch.delete_route(Route("fd08::/64", table=70_000, kind=RouteKind.BLACKHOLE)),
            [("RTA_DST", "fd08::"), ("RTA_TABLE", 70_000)],
            {"family": V6, "dst_len": 64, "scope": 255, "type": 6},
        ),
    ],
    ids=["by destination", "by all that is known", "blackhole"],
)
def test_a_route_is_deleted_by_what_is_known_of_it(
    queue: Callable[[RouteBatch], None], attributes: Attributes, fields: dict[str, int]
) -> None:
    assert asked(queue) == (25, 0, theirs(rtmsg, attributes, **fields))


# -- rules ---------------------------------------------------------------------------------------------
@given(words, words, words, words, names, names, families, st.booleans(), st.data())
def test_a_rule_is_made_and_deleted(
    priority: int,
    table: int,
    mark: int,
    mask: int,
    iif: str,
    oif: str,
    family: tuple[int, Any, int],
    invert: bool,
    data: st.DataObject,
) -> None:
    source, target = data.draw(family[1]), data.draw(family[1])
    wide, narrow = data.draw(st.integers(0, family[2])), data.draw(st.integers(0, family[2]))
    rule = Rule(
        family[0],
        priority,
        table=table,
        mark=mark,
        mask=mask,
        iif=iif,
        oif=oif,
        source=f"{source}/{wide}",
        destination=f"{target}/{narrow}",
        invert=invert,
    )
    wanted: Attributes = [
        ("FRA_PRIORITY", priority),
        ("FRA_PROTOCOL", 0x50),
        ("FRA_DST", target),
        ("FRA_SRC", source),
        ("FRA_IIFNAME", iif),
        ("FRA_OIFNAME", oif),
        ("FRA_FWMARK", mark),
        ("FRA_FWMASK", mask),
        ("FRA_TABLE", table),
    ]
    lengths = {"src_len": wide, "dst_len": narrow}
    body = theirs(fibmsg, wanted, family=family[0], **lengths, action=1, flags=2 if invert else 0)
    assert asked(lambda batch: batch.make_rule(rule)) == (32, 0x600, body)
    assert asked(lambda batch: batch.delete_rule(rule)) == (33, 0, body)
    assert read_rule(body) == rule


@pytest.mark.parametrize("family", [V4, V6])
def test_rules_that_go_on_and_that_do_nothing(family: int) -> None:
    first: Attributes = [("FRA_PRIORITY", 701), ("FRA_PROTOCOL", 0x50)]
    goto: Attributes = [*first, ("FRA_FWMARK", 7), ("FRA_FWMASK", 0xFFFFFFFF), ("FRA_GOTO", 40_000)]
    body = theirs(fibmsg, goto, family=family, action=2)
    assert asked(lambda batch: batch.make_rule(Rule(family, 701, mark=7, goto=40_000))) == (32, 0x600, body)
    assert asked(lambda batch: batch.delete_rule(Rule(family, 701, mark=7, goto=40_000))) == (33, 0, body)
    nothing = theirs(fibmsg, first, family=family, action=3)
    assert asked(lambda batch: batch.make_rule(Rule(family, 701))) == (32, 0x600, nothing)
    whatever = theirs(fibmsg, first, family=family)
    assert asked(lambda batch: batch.delete_rule(Rule(family, 701))) == (33, 0, whatever)
