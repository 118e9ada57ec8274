"""What importing PySyncObj must leave alone."""

from __future__ import annotations

import socket

import manager.raft.library  # noqa: F401


def test_addresses_are_still_written_as_text() -> None:
    assert socket.inet_ntop(socket.AF_INET, bytes((10, 0, 0, 1))) == "10.0.0.1"
    assert socket.inet_ntop(socket.AF_INET6, bytes(15) + b"\x01") == "::1"
