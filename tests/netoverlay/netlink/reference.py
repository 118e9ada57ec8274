"""The bodies of rtnetlink messages as pyroute2 encodes them, and what a batch of ours has queued."""

from __future__ import annotations

from collections.abc import Callable
from sys import byteorder
from typing import Any

from hypothesis import strategies as st

from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.wire import NESTED, unpack_address

MAC, OTHER = "02:00:00:00:00:09", "02:00:00:00:00:0a"
V4, V6 = 2, 10
Attributes = list[tuple[str, Any]]

indices = st.integers(1, 2**31 - 1)
words = st.integers(1, 2**32 - 1)
macs = st.binary(min_size=6, max_size=6).map(lambda each: each.hex(":"))
fours = st.integers(0, 2**32 - 1).map(lambda each: unpack_address(each.to_bytes(4, "big")))
sixes = st.integers(0, 2**128 - 1).map(lambda each: unpack_address(each.to_bytes(16, "big")))
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=15)
families = st.sampled_from([(V4, fours, 32), (V6, sixes, 128)])


def asked(queue: Callable[[RouteBatch], None]) -> tuple[int, int, bytes]:
    """Type, flags and body of the one request that was queued."""
    batch = RouteBatch()
    queue(batch)
    (request,) = batch.requests
    return request.kind, request.flags, request.body


def theirs(layout: type[Any], attributes: Attributes, **fields: int) -> bytes:
    """The body as pyroute2 has it."""
    message = layout()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)[16:]


def plain(body: bytes, start: int = 0) -> bytes:
    """Without NLA_F_NESTED, which pyroute2 leaves out and the kernel's strict parsers ask for."""
    done, place = bytearray(body[:start]), start
    while place < len(body):
        size = int.from_bytes(body[place : place + 2], byteorder)
        kind = int.from_bytes(body[place + 2 : place + 4], byteorder)
        value, end = body[place + 4 : place + size], place + (size + 3 & ~3)
        if kind & NESTED:
            value = plain(value)
        done += size.to_bytes(2, byteorder) + (kind & ~NESTED).to_bytes(2, byteorder) + value
        done += body[place + size : end]
        place = end
    return bytes(done)


def info(kind: str, *attributes: tuple[str, Any]) -> tuple[str, Any]:
    inner: Attributes = [("IFLA_INFO_KIND", kind), ("IFLA_INFO_DATA", {"attrs": list(attributes)})]
    return "IFLA_LINKINFO", {"attrs": inner}
