"""This host's own name space as one that is probed."""

from __future__ import annotations

import socket
from pathlib import Path

from worker.checks.probe_listener import token_of

TOKEN_OF_TEST = token_of("check1")


FOUR, SIX = "127.0.0.1", "::1"


class Loopback:
    """This host's own namespace; it counts what is open."""

    def __init__(self) -> None:
        self.opened: list[socket.socket] = []

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        made = socket.socket(family, kind, proto)
        self.opened.append(made)
        return made

    @property
    def open(self) -> int:
        return sum(each.fileno() >= 0 for each in self.opened)


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
