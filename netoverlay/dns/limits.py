"""What bounds the name server, and what it counts."""

from __future__ import annotations

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes. `timeout` is for one upstream: three of them make twelve seconds.

    `per_container` is Docker's limit of questions under way to upstreams; `total` is for all containers, so
    that a thousand containers with a dead upstream do not use up the daemon's file descriptors.
    """

    timeout: float = 4.0
    resend: float = 1.5  # UDP loses; within `timeout` the question is sent again
    port: int = 53
    per_container: int = 1024
    total: int = 4096
    cache_entries: int = 8192
    cache_bytes: int = 8 << 20
    cache_seconds: int = 86_400  # whatever a TTL says
    local_bytes: int = 2 << 20  # ready answers about names of the swarm, for each container
    connections: int = 128  # over TCP, for each container
    outstanding: int = (
        64  # forwarded questions of one connection; then it is read no more until one is answered
    )
    idle: float = 10.0  # RFC 7766 6.2.3: a few seconds


class Counters(Struct, kw_only=True):
    """Since the start. `cached` and `forwarded` are of questions about other names than the swarm's.

    `failures`: answered SERVFAIL, as no upstream had an answer; `refused`: too many were under way.
    `malformed`: not a question, or none that could be read.
    """

    queries: int = 0
    cached: int = 0
    forwarded: int = 0
    failures: int = 0
    refused: int = 0
    malformed: int = 0
    connections: int = 0
