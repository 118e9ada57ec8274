"""Frames as programs with raw sockets write them: true ones and forged ones."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

from netoverlay.netns import Namespace

ALL = "ff:ff:ff:ff:ff:ff"
_ETH_P_ALL, _ICMP6, _UDP = 3, 58, 17


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(source: str, kind: int, body: bytes, target: str = ALL) -> bytes:
    return mac(target) + mac(source) + struct.pack("!H", kind) + body


def tagged(frame: bytes, *tags: int) -> bytes:
    """With these tags of VLAN 0 (0x8100 or 0x88a8), the first outermost."""
    return frame[:12] + b"".join(struct.pack("!HH", tag, 0) for tag in tags) + frame[12:]


def arp(
    source: str, sender: str, address: str, asked: str, *, operation: int = 1, sizes: bytes = b"\6\4"
) -> bytes:
    body = struct.pack("!HH", 1, 0x0800) + sizes + struct.pack("!H", operation) + mac(sender)
    return ethernet(source, 0x0806, body + ip_address(address).packed + bytes(6) + ip_address(asked).packed)


def checksum(data: bytes) -> int:
    total = (
        sum(struct.unpack(f"!{len(data) // 2}H", data))
        if len(data) % 2 == 0
        else checksum(data + b"\0") ^ 0xFFFF
    )
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ipv4(source: str, address: str, target: str, *, port: int = 9, to: str = ALL) -> bytes:
    """A UDP datagram without checksum."""
    datagram = struct.pack("!4H", port, port, 8, 0)
    head = (
        struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, _UDP, 0)
        + ip_address(address).packed
        + ip_address(target).packed
    )
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return ethernet(source, 0x0800, head + datagram, to)


def ipv6(
    source: str, address: str, target: str, body: bytes, *, kind: int = _UDP, to: str = "33:33:00:00:00:01"
) -> bytes:
    head = (
        struct.pack("!IHBB", 6 << 28, len(body), kind, 255)
        + ip_address(address).packed
        + ip_address(target).packed
    )
    return ethernet(source, 0x86DD, head + body, to)


def icmp6(
    source: str, address: str, kind: int, body: bytes, *, target: str = "ff02::1", before: bytes = b""
) -> bytes:
    """ICMPv6 of this kind to all nodes; `before`: headers between, the first of which is hop-by-hop options."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = ip_address(address).packed + ip_address(target).packed + struct.pack("!II", len(message), _ICMP6)
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    return ipv6(source, address, target, before + message, kind=0 if before else _ICMP6)


def neighbour(kind: int, source: str, address: str, claimed: str, *, before: bytes = b"") -> bytes:
    """Solicitation (135) or advertisement (136) about `claimed`, with the source's MAC as its own."""
    flags = 0x20000000 if kind == 136 else 0
    option = struct.pack("!BB", 2 if kind == 136 else 1, 1) + mac(source)
    return icmp6(
        source, address, kind, struct.pack("!I", flags) + ip_address(claimed).packed + option, before=before
    )


def packets(namespace: Namespace, interface: str) -> socket.socket:
    """Sends whole frames, and hears all that arrive."""
    made = namespace.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)))
    namespace.run(lambda: made.bind((interface, 0)))
    made.settimeout(10)
    return made


def heard(sniffer: socket.socket, last: bytes) -> list[bytes]:
    """All frames of others up to `last`."""
    found: list[bytes] = []
    while True:
        frame, address = sniffer.recvfrom(2048)
        if address[2] == socket.PACKET_OUTGOING:
            continue
        if last in frame:
            return found
        found.append(frame)
