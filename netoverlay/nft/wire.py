"""nf_tables' messages on netlink (linux/netfilter/nf_tables.h): numbers, in network order here, and lists. Sans-I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from netoverlay.netlink import wire

SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
BATCH_BEGIN, BATCH_END = 0x10, 0x11  # NFNL_MSG_*
LIST_ELEMENT = 1  # NFTA_LIST_ELEM
LARGEST_LIST = 60_000  # bytes: the length of an attribute has 16 bits
_HEADER = struct.Struct("!BBH")  # struct nfgenmsg
_U32 = struct.Struct("!I")
_ATTRIBUTE = struct.Struct("=HH")


class Family(IntEnum):
    """NFPROTO_*: which packets a table sees. INET is IPv4 and IPv6."""

    ANY = 0
    INET = 1
    IPV4 = 2
    NETDEV = 5
    BRIDGE = 7
    IPV6 = 10


class Call(IntEnum):
    """NFT_MSG_*"""

    NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2
    NEWCHAIN, GETCHAIN, DELCHAIN = 3, 4, 5
    NEWRULE, GETRULE, DELRULE = 6, 7, 8
    NEWSET, GETSET, DELSET = 9, 10, 11
    NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
    NEWGEN, GETGEN = 15, 16


class TableAttribute(IntEnum):
    NAME = 1


class ChainAttribute(IntEnum):
    TABLE, HANDLE, NAME, HOOK, POLICY, USE, TYPE = 1, 2, 3, 4, 5, 6, 7
    HOOK_NUMBER, HOOK_PRIORITY = 1, 2  # within HOOK


class RuleAttribute(IntEnum):
    TABLE, CHAIN, HANDLE, EXPRESSIONS, USERDATA = 1, 2, 3, 4, 7


class SetAttribute(IntEnum):
    TABLE, NAME, FLAGS, KEY_TYPE, KEY_LENGTH, DATA_TYPE, DATA_LENGTH = 1, 2, 3, 4, 5, 6, 7
    DESCRIPTION, ID, USERDATA = 9, 10, 13
    SIZE = 1  # within DESCRIPTION


class SetFlag(IntEnum):
    ANONYMOUS, CONSTANT, INTERVAL, MAP, EVALUATED = 1, 2, 4, 8, 0x20


class ElementsAttribute(IntEnum):
    TABLE, SET, LIST, SET_ID = 1, 2, 3, 4
    KEY, DATA, FLAGS = 1, 2, 3  # within one element
    END = 1  # among its flags: the first key behind an interval


class DataAttribute(IntEnum):
    VALUE, VERDICT = 1, 2
    CODE, CHAIN = 1, 2  # within VERDICT


def number(kind: int, value: int) -> bytes:
    """An attribute of 32 bits in network order, as nf_tables has them; negative numbers as their complement."""
    return wire.attribute(kind, _U32.pack(value & 0xFFFFFFFF))


def unpack_number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def signed(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """All attributes in order, without flags: for lists, where each has the same number."""
    offset, end = 0, len(data) - 3
    while offset < end:
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        if size < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + size]
        offset += (size + 3) & ~3


def header(family: int, resource: int = 0) -> bytes:
    return _HEADER.pack(family, 0, resource)


def generation_stamp(body: bytes) -> int:
    """The lower 16 bits of the generation that a dumped object belongs to."""
    return int(_HEADER.unpack_from(body)[2])


def family_of(body: bytes) -> int:
    return body[0]


def body_attributes(body: bytes) -> dict[int, bytes]:
    """The attributes behind the header."""
    return wire.attributes(body, 4)
