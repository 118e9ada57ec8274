"""Netlink's wire format (linux/netlink.h): attributes, messages and errors, as bytes in and values out. Sans-I/O."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from swarmcore.addresses import split_prefix

ERROR, DONE, OVERRUN = 2, 3, 4  # NLMSG_*
REQUEST, MULTI, ACK, ECHO, DUMP_INTERRUPTED = 0x1, 0x2, 0x4, 0x8, 0x10  # NLM_F_*
DUMP = 0x300  # NLM_F_ROOT | NLM_F_MATCH
REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
NESTED = 0x8000  # NLA_F_NESTED
_TYPE_MASK = 0x3FFF
_CAPPED, _EXTENDED = 0x100, 0x200  # NLM_F_CAPPED, NLM_F_ACK_TLVS
_EXTENDED_TEXT = 1  # NLMSGERR_ATTR_MSG

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class NetlinkError(OSError):
    """The kernel refused a request. `errno` as usual; the text is its explanation (extended ack) where it gives one.

    `index` is the place of the request in its batch; the requests after it were carried out all the same.
    """

    def __init__(self, code: int, text: str = "", request: str = "", index: int = -1) -> None:
        reason = f"{text} ({errno.errorcode.get(code, code)})" if text else os.strerror(code)
        super().__init__(code, f"{request}: {reason}" if request else reason)
        self.index = index


class Message(NamedTuple):
    """One message as it came. `port` is the socket that caused it, 0 for the kernel itself."""

    kind: int
    flags: int
    sequence: int
    port: int
    body: bytes


def attribute(kind: int, value: bytes | int | str) -> bytes:
    """One attribute, padded. An int is 32 bits wide in the machine's order, a str ends with a zero byte."""
    if isinstance(value, int):
        value = _U32.pack(value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    size = len(value)
    return _ATTRIBUTE.pack(size + 4, kind) + value + _PADDING[size & 3]


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(kind | NESTED, b"".join(parts))


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Attributes by number without the NLA_F_ flags; of one that is repeated, the last."""
    found: dict[int, bytes] = {}
    end = len(data) - 3
    unpack = _ATTRIBUTE.unpack_from
    while offset < end:
        size, kind = unpack(data, offset)
        if size < 4:
            break
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + size]
        offset += (size + 3) & ~3
    return found


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One request, with NLM_F_REQUEST."""
    return HEADER.pack(16 + len(body), kind, flags | REQUEST, sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """All messages in one datagram."""
    offset, end = 0, len(data) - 15
    while offset < end:
        size, kind, flags, sequence, port = HEADER.unpack_from(data, offset)
        if size < 16:
            return
        yield Message(kind, flags, sequence, port, data[offset + 16 : offset + size])
        offset += (size + 3) & ~3


def error_in(answer: Message) -> tuple[int, str]:
    """errno (0: carried out) and explanation in an ERROR or DONE message. Needs NETLINK_EXT_ACK for the text."""
    body = answer.body
    code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if not answer.flags & _EXTENDED:
        return code, ""
    offset = 4
    if answer.kind == ERROR:
        # The request is repeated in the answer: its header alone where NETLINK_CAP_ACK is on or all went well.
        offset = 20 if answer.flags & _CAPPED or code == 0 else 4 + ((_U32.unpack_from(body, 4)[0] + 3) & ~3)
    return code, attributes(body, offset).get(_EXTENDED_TEXT, b"").rstrip(b"\0").decode(errors="replace")


def u32(value: bytes) -> int:
    return int(_U32.unpack(value)[0])


def text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def pack_address(address: str) -> tuple[int, bytes]:
    """Address family and bytes. ValueError for what is no IP address."""
    family = AF_INET6 if ":" in address else AF_INET
    try:
        return family, inet_pton(family, address)
    except OSError:
        raise ValueError(f"{address!r} is not an IP address") from None


def unpack_address(value: bytes) -> str:
    return inet_ntop(AF_INET if len(value) == 4 else AF_INET6, value)


def pack_network(network: str) -> tuple[int, bytes, int]:
    """Family, address and prefix length of a CIDR; a bare address has its full length."""
    address, length = split_prefix(network)
    family, packed = pack_address(address)
    bits = len(packed) * 8 if length is None else length
    if not 0 <= bits <= len(packed) * 8:
        raise ValueError(f"{network!r} is not a network")
    return family, packed, bits


def pack_mac(mac: str) -> bytes:
    """ValueError for what is no hardware address of six bytes."""
    packed = bytes.fromhex(mac.replace(":", ""))
    if len(packed) != 6:
        raise ValueError(f"{mac!r} is not a hardware address")
    return packed


def unpack_mac(value: bytes) -> str:
    return value.hex(":")
