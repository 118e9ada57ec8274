"""XFRM netlink messages (linux/xfrm.h) for what `plan` wants. pyroute2 has no classes for them. Sans-I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, IPPROTO_ESP, IPPROTO_UDP

from netoverlay.ipsec.plan import MARK, Association, Policy

NEWSA, DELSA, GETSA = 0x10, 0x11, 0x12
NEWPOLICY, DELPOLICY, GETPOLICY = 0x13, 0x14, 0x15
UPDPOLICY, UPDSA = 0x19, 0x1A
_TEMPLATE, _SOURCE, _AEAD, _MARK, _ESN = 5, 13, 18, 21, 23  # XFRMA_*
_ESN_FLAG = 128  # XFRM_STATE_ESN: 32-bit sequence numbers would run out within hours on a fast link
OWNER = MARK  # the "reqid" by which we know what is ours
_OUT = 1  # XFRM_POLICY_OUT
_ALGORITHM = b"rfc4106(gcm(aes))"
_ICV_BITS = 128
_WINDOW = 128  # packets that may overtake each other
_FOREVER = struct.pack("=4Q", *[2**64 - 1] * 4) + struct.pack("=4Q", 0, 0, 0, 0)
_USED = struct.pack("=4Q", 0, 0, 0, 0)
_ANY = bytes(56)  # the selector that fits every packet
_ALL_BITS = 0xFFFFFFFF
# Offsets in what the kernel dumps.
_SA_ID, _SA_SOURCE, _SA_OWNER, _SA_FAMILY = 56, 80, 208, 212
_POLICY_DIRECTION = 160


def _address(text: str) -> bytes:
    return ip_address(text).packed.ljust(16, b"\0")


def _family(text: str) -> int:
    return AF_INET if ip_address(text).version == 4 else AF_INET6


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _id(target: str, spi: int) -> bytes:
    """struct xfrm_id."""
    return _address(target) + struct.pack("!IB3x", spi, IPPROTO_ESP)


def add_association(wanted: Association) -> bytes:
    """The body of NEWSA: struct xfrm_usersa_info with AEAD algorithm and extended sequence numbers."""
    tail = struct.pack("=IIHBBB7x", 0, OWNER, _family(wanted.source), 0, 0, _ESN_FLAG)
    head = _ANY + _id(wanted.target, wanted.spi) + _address(wanted.source) + _FOREVER + _USED + bytes(12)
    aead = _ALGORITHM.ljust(64, b"\0") + struct.pack("=II", len(wanted.key) * 8, _ICV_BITS) + wanted.key
    replay = struct.pack("=6I", _WINDOW // 32, 0, 0, 0, 0, _WINDOW)
    return head + tail + _attribute(_AEAD, aead) + _attribute(_ESN, replay)


def delete_association(source: str, target: str, spi: int) -> bytes:
    """The body of DELSA: struct xfrm_usersa_id."""
    head = _address(target) + struct.pack("!I", spi) + struct.pack("=HBx", _family(target), IPPROTO_ESP)
    return head + _attribute(_SOURCE, _address(source))


def _selector(wanted: Policy) -> bytes:
    """struct xfrm_selector: UDP from one host to the VXLAN port of the other."""
    bits = ip_address(wanted.target).max_prefixlen
    ports = struct.pack("!4H", wanted.port, 0xFFFF, 0, 0)
    head = _address(wanted.target) + _address(wanted.source) + ports
    return head + struct.pack("=HBBB3xiI", _family(wanted.target), bits, bits, IPPROTO_UDP, 0, 0)


def _mark() -> bytes:
    return _attribute(_MARK, struct.pack("=II", MARK, _ALL_BITS))


def add_policy(wanted: Policy) -> bytes:
    """The body of NEWPOLICY or UPDPOLICY: struct xfrm_userpolicy_info with one template."""
    info = struct.pack("=IIBBBB4x", 0, 0, _OUT, 0, 0, 0)
    template = (
        _id(wanted.target, wanted.spi)
        + struct.pack("=H2x", _family(wanted.target))
        + _address(wanted.source)
        + struct.pack("=IBBBxIII", OWNER, 0, 0, 0, _ALL_BITS, _ALL_BITS, _ALL_BITS)
    )
    return _selector(wanted) + _FOREVER + _USED + info + _attribute(_TEMPLATE, template) + _mark()


def delete_policy(wanted: Policy) -> bytes:
    """The body of DELPOLICY: struct xfrm_userpolicy_id. The template does not matter."""
    return _selector(wanted) + struct.pack("=IB3x", 0, _OUT) + _mark()


# -- what the kernel says ------------------------------------------------------------------------------
def _text(raw: bytes, family: int) -> str:
    return str(ip_address(raw[:4] if family == AF_INET else raw[:16]))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind, data[4:length]
        data = data[(length + 3) & ~3 :]


def read_association(body: bytes) -> Association | None:
    """The ESP association in a NEWSA message; None for those of others."""
    if len(body) < 224:
        return None
    spi, protocol = struct.unpack_from("!IB", body, _SA_ID + 16)
    owner, family = struct.unpack_from("=IH", body, _SA_OWNER)
    if protocol != IPPROTO_ESP or owner != OWNER:
        return None
    key = b""
    for kind, data in _attributes(body[224:]):
        if kind == _AEAD and data[:64].rstrip(b"\0") == _ALGORITHM:
            (bits,) = struct.unpack_from("=I", data, 64)
            key = data[72 : 72 + bits // 8]
    return Association(
        source=_text(body[_SA_SOURCE : _SA_SOURCE + 16], family),
        target=_text(body[_SA_ID : _SA_ID + 16], family),
        spi=spi,
        key=key,
    )


def read_policy(body: bytes) -> Policy | None:
    """The policy in a NEWPOLICY message, None if it does not carry our mark and direction."""
    if len(body) < 168 or body[_POLICY_DIRECTION] != _OUT:
        return None
    (port,) = struct.unpack_from("!H", body, 32)
    (family,) = struct.unpack_from("=H", body, 40)
    spi, marked = 0, False
    for kind, data in _attributes(body[168:]):
        if kind == _TEMPLATE:
            (spi,) = struct.unpack_from("!I", data, 16)
        elif kind == _MARK:
            marked = struct.unpack_from("=II", data) == (MARK, _ALL_BITS)
    if not marked:
        return None
    return Policy(source=_text(body[16:32], family), target=_text(body[:16], family), port=port, spi=spi)
