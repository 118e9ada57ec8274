"""Asks the resolver of a container's namespace for a name's IPv4 addresses, as a program in it would (RFC 1035)."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

from netoverlay.dns.message import Malformed, encode_name, read_name, read_record
from swarmcore.rpc.messages.check import NameResult, Outcome
from worker.checks.probe_listener import Opens, open_socket

RESOLVER = ("127.0.0.11", 53)
PATIENCE = 0.6  # seconds for each of two questions: the resolver is on this host
_A, _IN, _TRUNCATED = 1, 1, 0x0200
_EDNS = struct.pack("!xHHIH", 41, 4096, 0, 0)  # RFC 6891: answers of up to 4096 bytes


async def lookup(namespace: Opens, name: str, resolver: tuple[str, int] = RESOLVER) -> NameResult:
    """`OK` with no addresses where the resolver answers that it does not know the name."""
    ident = int.from_bytes(os.urandom(2), "big")
    try:
        question = encode_name(name.encode()) + struct.pack("!2H", _A, _IN)
    except ValueError:
        return NameResult(name=name, outcome=Outcome.UNTESTED)
    query = struct.pack("!6H", ident, 0x0100, 1, 0, 0, 1) + question + _EDNS
    loop = asyncio.get_running_loop()
    with await open_socket(namespace, socket.AF_INET, socket.SOCK_DGRAM) as opened:
        try:
            opened.connect(resolver)
            for _ in range(2):
                opened.send(query)
                try:
                    async with asyncio.timeout(PATIENCE):
                        while (answer := await loop.sock_recv(opened, 65535))[:2] != query[:2]:
                            continue
                        return _read(name, answer)
                except TimeoutError:
                    continue
        except ConnectionRefusedError:
            return NameResult(name=name, outcome=Outcome.REFUSED)
        except OSError:
            return NameResult(name=name, outcome=Outcome.LOST)
    return NameResult(name=name, outcome=Outcome.LOST)


def _read(name: str, answer: bytes) -> NameResult:
    try:
        _, flags, questions, answers, _, _ = struct.unpack_from("!6H", answer)
        offset = 12
        for _ in range(questions):
            offset = read_name(answer, offset)[1] + 4
        found = []
        for _ in range(answers):
            kind, *_, start, offset = read_record(answer, offset)
            if kind == _A:
                found.append(socket.inet_ntoa(answer[start : start + 4]))
    except (Malformed, struct.error, OSError):
        return NameResult(name=name, outcome=Outcome.DAMAGED)
    return NameResult(
        name=name,
        outcome=Outcome.OK,
        addresses=tuple(sorted(found)),
        partial=bool(flags & _TRUNCATED),
    )
