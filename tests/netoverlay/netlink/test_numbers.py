"""The kernel's numbers are those that pyroute2 has for the same names."""

from __future__ import annotations

from typing import Any

import pytest
from pyroute2.netlink import rtnl
from pyroute2.netlink.rtnl import rt_scope, rt_type
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netoverlay.netlink.numbers import LinkPart, NeighbourPart, RouteKind, RoutePart, RulePart, Scope, Verb


def numbered(layout: type[Any]) -> dict[str, int]:
    """Attributes by name; where a layout does not number them, they count from 0."""
    places = (
        each if isinstance(each[0], int) else (place, *each) for place, each in enumerate(layout.nla_map)
    )
    return {name: number for number, name, *_ in places}


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        (
            ifinfmsg,
            {
                LinkPart.NAME: "IFLA_IFNAME",
                LinkPart.MASTER: "IFLA_MASTER",
                LinkPart.INFO: "IFLA_LINKINFO",
                LinkPart.EXT_MASK: "IFLA_EXT_MASK",
                LinkPart.LINK_NETNS: "IFLA_LINK_NETNSID",
            },
        ),
        (
            rtmsg,
            {
                RoutePart.DESTINATION: "RTA_DST",
                RoutePart.DEVICE: "RTA_OIF",
                RoutePart.METRIC: "RTA_PRIORITY",
                RoutePart.SOURCE: "RTA_PREFSRC",
                RoutePart.TABLE: "RTA_TABLE",
            },
        ),
        (
            fibmsg,
            {
                RulePart.GOTO: "FRA_GOTO",
                RulePart.MARK: "FRA_FWMARK",
                RulePart.MASK: "FRA_FWMASK",
                RulePart.PROTOCOL: "FRA_PROTOCOL",
            },
        ),
        (ndmsg, {NeighbourPart.VNI: "NDA_VNI", NeighbourPart.DEVICE: "NDA_IFINDEX"}),
    ],
    ids=["links", "routes", "rules", "neighbours"],
)
def test_attributes_have_the_kernels_numbers(layout: type[Any], names: dict[int, str]) -> None:
    assert {name: numbered(layout)[name] for name in names.values()} == {
        name: int(number) for number, name in names.items()
    }


def test_requests_kinds_and_scopes_have_the_kernels_numbers() -> None:
    assert (rtnl.RTM_NEWLINK, rtnl.RTM_DELRULE) == (Verb.NEW_LINK, Verb.DELETE_RULE)
    assert (rt_type["blackhole"], rt_type["local"]) == (RouteKind.BLACKHOLE, RouteKind.LOCAL)
    assert (rt_scope["link"], rt_scope["host"]) == (Scope.LINK, Scope.HOST)
