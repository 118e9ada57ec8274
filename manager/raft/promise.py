"""What a manager keeps when it is demoted: its data go, the word that it gave in elections holds.

Members that voted, and held entries, can be demoted and promoted again under the same node id. Would they come back
without a memory, then a member that was removed long ago, and has not heard of it, could win the votes of enough of
them for its old configuration: a second swarm beside the swarm. So a demoted manager keeps its term, its vote and where
its log ended, and grants votes only to logs that reach as far. This is no secret: it needs no data key.
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Struct

from manager.raft.interfaces import CorruptState, Disk
from swarmcore.model.generation import FIRST, Generation

NAME = "promise"
_DIGEST_BYTES = 32


class Promise(Struct, frozen=True, kw_only=True, array_like=True):
    """`log_term` and `index`: the log's last entry. `segment`: the journal's last; all up to it is given up."""

    term: int = 0
    vote: str | None = None
    log_term: int = 0
    index: int = 0
    segment: int = 0
    generation: Generation = FIRST


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Promise).decode


def read_promise(disk: Disk) -> Promise:
    """An empty one when this node was never demoted."""
    if NAME not in disk.listdir():
        return Promise()
    data = disk.read(NAME)
    body, digest = data[_DIGEST_BYTES:], data[:_DIGEST_BYTES]
    if hashlib.sha256(body).digest() != digest:
        raise CorruptState(f"raft's file {NAME} is not what was written")
    return _decode(body)


def write_promise(disk: Disk, promise: Promise) -> None:
    body = _encode(promise)
    file = disk.create(f"{NAME}.tmp")
    try:
        file.write(hashlib.sha256(body).digest() + body)
        file.fdatasync()
    finally:
        file.close()
    disk.rename(f"{NAME}.tmp", NAME)
    disk.fsync_dir()
