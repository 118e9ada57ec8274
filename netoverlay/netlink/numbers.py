"""The kernel's numbers for links, addresses, routes, rules and neighbours (rtnetlink). Sans-I/O.

Each class names the prefix and the header (of include/uapi/linux) that its numbers are from; only those that we speak
are here. What runs for every entry of a table keeps them as plain ints: to look one up in its class costs 50 ns.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

#: Marks routes and rules as ours (rtm_protocol, rtnetlink.h: 4 is "static", 32 to 127 are free).
PROTOCOL = 0x50
#: Forwarding entries are neighbours of this family (PF_BRIDGE, socket.h).
AF_BRIDGE = 7


class Verb(IntEnum):
    """RTM_*, rtnetlink.h: what is asked for, or told of."""

    NEW_LINK = 16
    DELETE_LINK = 17
    GET_LINK = 18
    NEW_ADDRESS = 20
    DELETE_ADDRESS = 21
    GET_ADDRESS = 22
    NEW_ROUTE = 24
    DELETE_ROUTE = 25
    GET_ROUTE = 26
    NEW_NEIGHBOUR = 28
    DELETE_NEIGHBOUR = 29
    GET_NEIGHBOUR = 30
    NEW_RULE = 32
    DELETE_RULE = 33
    GET_RULE = 34


class Group(IntFlag):
    """RTMGRP_*, rtnetlink.h: whose notices a socket gets."""

    LINKS = 0x1
    NEIGHBOURS = 0x4
    IPV4_ADDRESSES = 0x10
    IPV4_ROUTES = 0x40
    IPV4_RULES = 0x80
    IPV6_ADDRESSES = 0x100
    IPV6_ROUTES = 0x400
    IPV6_RULES = 0x40000


# -- links ---------------------------------------------------------------------------------------------
IFF_UP = 1  # if.h


class LinkPart(IntEnum):
    """IFLA_*, if_link.h: what a message about a link consists of."""

    ADDRESS = 1
    NAME = 3
    MTU = 4
    LINK = 5  # the device below, or a veth's other end
    MASTER = 10
    INFO = 18
    AF_SPEC = 26
    NETNS_FD = 28
    EXT_MASK = 29
    LINK_NETNS = 37  # where the one of LINK is, if elsewhere


class InfoPart(IntEnum):
    """IFLA_INFO_*, if_link.h: inside of LinkPart.INFO."""

    KIND = 1
    DATA = 2
    PORT_KIND = 4
    PORT_DATA = 5


class BridgePart(IntEnum):
    """IFLA_BR_*, if_link.h."""

    STP_STATE = 5
    MULTICAST_SNOOPING = 23


class PortPart(IntEnum):
    """IFLA_BRPORT_*, if_link.h: of a bridge's port."""

    LEARNING = 8
    UNICAST_FLOOD = 9


class VxlanPart(IntEnum):
    """IFLA_VXLAN_*, if_link.h."""

    ID = 1
    LOCAL = 4
    LEARNING = 7
    PROXY = 11
    PORT = 15
    LOCAL6 = 17


VETH_PEER = 1  # VETH_INFO_PEER, veth.h
INET6_GEN_MODE = 8  # IFLA_INET6_ADDR_GEN_MODE, if_link.h
SKIP_STATISTICS = 8  # RTEXT_FILTER_SKIP_STATS, rtnetlink.h


class GenMode(IntEnum):
    """IN6_ADDR_GEN_MODE_*, if_link.h: where a device's link-local address comes from."""

    EUI64 = 0
    NONE = 1


# -- addresses -----------------------------------------------------------------------------------------
class AddressPart(IntEnum):
    """IFA_*, if_addr.h. LOCAL is the own address; ADDRESS is that too, or the other end's of a point-to-point line."""

    ADDRESS = 1
    LOCAL = 2


NO_DUPLICATE_DETECTION = 2  # IFA_F_NODAD, if_addr.h


# -- routes and rules ----------------------------------------------------------------------------------
class RouteKind(IntEnum):
    """RTN_*, rtnetlink.h: what becomes of a packet."""

    UNICAST = 1
    LOCAL = 2
    BLACKHOLE = 6
    UNREACHABLE = 7


class Scope(IntEnum):
    """RT_SCOPE_*, rtnetlink.h: how far away. A deletion with NOWHERE means any."""

    GLOBAL = 0
    LINK = 253
    HOST = 254
    NOWHERE = 255


class Table(IntEnum):
    """RT_TABLE_*, rtnetlink.h."""

    MAIN = 254
    LOCAL = 255


class RoutePart(IntEnum):
    """RTA_*, rtnetlink.h."""

    DESTINATION = 1
    DEVICE = 4
    GATEWAY = 5
    METRIC = 6
    SOURCE = 7
    TABLE = 15


ONLINK = 4  # RTNH_F_ONLINK, rtnetlink.h


class RuleAction(IntEnum):
    """FR_ACT_*, fib_rules.h. A deletion with ANY takes whatever the rule does."""

    ANY = 0
    TO_TABLE = 1
    GOTO = 2
    NOP = 3
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8


class RulePart(IntEnum):
    """FRA_*, fib_rules.h."""

    DESTINATION = 1
    SOURCE = 2
    ARRIVES_ON = 3
    GOTO = 4
    PRIORITY = 6
    MARK = 10
    TABLE = 15
    MASK = 16
    LEAVES_ON = 17
    PROTOCOL = 21


INVERT = 2  # FIB_RULE_INVERT, fib_rules.h


# -- neighbours and forwarding entries -----------------------------------------------------------------
class NeighbourPart(IntEnum):
    """NDA_*, neighbour.h."""

    ADDRESS = 1  # of a forwarding entry the VTEP
    MAC = 2
    PORT = 6
    VNI = 7
    DEVICE = 8
    NEXTHOP = 13


class NeighbourState(IntFlag):
    """NUD_*, neighbour.h."""

    NOARP = 0x40
    PERMANENT = 0x80


class NeighbourMark(IntFlag):
    """NTF_*, neighbour.h. SELF: of the device itself; MASTER: of the bridge it is a port of."""

    SELF = 0x2
    MASTER = 0x4
    STICKY = 0x40
