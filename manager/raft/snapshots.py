"""The snapshot store: one sealed snapshot, verified whole before it counts, replaced only by a newer one.

The file is a sealed file (sealed.py): its first frame is the SnapshotMeta, then the plain data in chunks of one size,
so that any chunk can be read on its own. Its size and SHA-256 are in the meta.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Self

import msgspec

from manager.raft.interfaces import CorruptState, Disk, DiskReader, Snapshot, SnapshotSink, SnapshotSource
from manager.raft.messages import Configuration, SnapshotMeta
from manager.raft.sealed import (
    HEADER_BYTES,
    OVERHEAD,
    TAG_BYTES,
    Keyring,
    Opener,
    RandomBytes,
    Sealer,
    random_bytes,
)
from pki.seal import DataKeys
from swarmcore.model.generation import Generation

MAGIC = b"pswRaftS"
NAME = "snapshot"
CHUNK = 1 << 20
_META_LIMIT = 1 << 20


class SnapshotStore:
    """Implements interfaces.Snapshots. `write` may run in a thread beside everything else."""

    def __init__(
        self, disk: Disk, keys: DataKeys, *, chunk: int = CHUNK, random: RandomBytes = random_bytes
    ) -> None:
        self.disk = disk
        self.keyring = Keyring(keys)
        self.chunk = chunk
        self.random = random
        self._lock = threading.Lock()  # for the current snapshot: which one, and replacing it
        self._current: SnapshotMeta | None = None
        self._made = 0
        self._closed = False

    def load(self) -> Snapshot | None:
        names = self.disk.listdir()
        for name in names:
            if name.startswith(f"{NAME}-") and name.endswith(".tmp"):
                self.disk.unlink(name)
        if NAME not in names:
            return None
        self.disk.fsync_dir()  # a process that was killed may have renamed it and got no further
        with _Source(self.disk.open(NAME), self.keyring) as source:
            parts = []
            at = 0
            while part := source.read(at, source.meta.size):
                parts.append(part)
                at += len(part)
            data, meta = b"".join(parts), source.meta
            if len(data) != meta.size or hashlib.sha256(data).digest() != meta.digest:
                raise source.corrupt("its data does not have the digest that it names")
            outdated = not source.is_current or source.chunk != self.chunk
        self._current = meta
        if outdated:  # after this, nothing needs the older data key
            self._replace(self._filled(meta, data), meta, again=True)
        return Snapshot(meta=meta, data=data)

    def write(self, index: int, term: int, configuration: Configuration, data: bytes) -> SnapshotMeta:
        if (current := self._current) is not None and current.index >= index:
            return current
        digest = hashlib.sha256(data).digest()
        meta = SnapshotMeta(
            index=index,
            term=term,
            members=dict(configuration.members),
            size=len(data),
            digest=digest,
            generation=configuration.generation,
        )
        self._replace(self._filled(meta, data), meta)
        return self._current or meta

    def _filled(self, meta: SnapshotMeta, data: bytes) -> _Writer:
        writer = _Writer(self, meta)
        try:
            writer.add(data)
            writer.end()
        except BaseException:
            writer.drop()
            raise
        return writer

    def _replace(self, writer: _Writer, meta: SnapshotMeta, *, again: bool = False) -> bool:
        """Give a complete, synced file the snapshot's name, unless what is there is as new. True if it did."""
        with self._lock:
            newer = self._current is None or self._current.index < meta.index or again
            if self._closed or not newer:
                writer.drop()
                return False
            self.disk.rename(writer.name, NAME)
            self.disk.fsync_dir()
            self._current = meta
            return True

    def temporary(self) -> str:
        """A thread of an earlier life may still be writing: no name is used twice."""
        with self._lock:
            self._made += 1
            return f"{NAME}-{self._made:04d}-{self.random(8).hex()}.tmp"

    def open(self) -> SnapshotSource | None:
        with self._lock:
            if self._current is None:
                return None
            return _Source(self.disk.open(NAME), self.keyring)

    def receive(self, meta: SnapshotMeta) -> SnapshotSink:
        return _Sink(self, meta)

    def install(self, writer: _Writer, snapshot: Snapshot) -> bool:
        return self._replace(writer, snapshot.meta)

    def close(self) -> None:
        """A write that still runs in a thread changes nothing from now on."""
        with self._lock:
            self._closed = True


class _Writer:
    """A snapshot's file being written, under a temporary name."""

    def __init__(self, store: SnapshotStore, meta: SnapshotMeta) -> None:
        self._store = store
        self.name = store.temporary()
        self._sealer = Sealer(store.keyring, MAGIC, meta.index, store.random)
        self._file = store.disk.create(self.name)
        self._rest = bytearray()
        try:
            first = _First(meta=meta, chunk=store.chunk)
            self._file.write(self._sealer.header + self._sealer.seal(_encode(first)))
        except BaseException:
            self.drop()
            raise

    def add(self, data: bytes) -> None:
        self._rest += data
        chunk = self._store.chunk
        whole = len(self._rest) - len(self._rest) % chunk
        for at in range(0, whole, chunk):
            self._file.write(self._sealer.seal(bytes(self._rest[at : at + chunk])))
        del self._rest[:whole]

    def end(self) -> None:
        if self._rest:
            self._file.write(self._sealer.seal(bytes(self._rest)))
        self._file.fdatasync()
        self._file.close()

    def drop(self) -> None:
        self._file.close()
        self._store.disk.unlink(self.name)


class _First(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The first frame."""

    meta: SnapshotMeta
    chunk: int


_encode = msgspec.msgpack.Encoder().encode
_first_decoder = msgspec.msgpack.Decoder(_First)


class _Source:
    """Reads the file that it was opened on, even when a newer snapshot has taken the name."""

    def __init__(self, reader: DiskReader, keyring: Keyring) -> None:
        self._reader = reader
        try:
            self._opener = Opener(keyring, MAGIC, NAME, reader.read(0, HEADER_BYTES))
            self.is_current = self._opener.key_id == keyring.current
            frame = self._frame_at(HEADER_BYTES)
            self._start = HEADER_BYTES + len(frame)
            try:
                first = _first_decoder.decode(self._opener.open_frame(0, frame))
            except msgspec.DecodeError as error:
                raise self.corrupt("its beginning is not readable") from error
            self.meta, self.chunk = first.meta, first.chunk
            if self.meta.index != self._opener.number or self.chunk < 1:
                raise self.corrupt("its beginning contradicts its header")
            chunks = -(-self.meta.size // self.chunk)
            if reader.size != self._start + self.meta.size + chunks * OVERHEAD:
                raise self.corrupt(f"it has {reader.size} bytes, not what its beginning says")
        except BaseException:
            reader.close()
            raise
        self._last: tuple[int, bytes] = (-1, b"")

    def _frame_at(self, offset: int) -> bytes:
        """The first frame says itself how long it is."""
        length = int.from_bytes(self._reader.read(offset + 4, 4), "little")
        if length > _META_LIMIT:
            raise self.corrupt("its beginning is damaged")
        return self._reader.read(offset, length - TAG_BYTES + OVERHEAD)

    def corrupt(self, why: str) -> CorruptState:
        return self._opener.corrupt(why)

    def read(self, offset: int, size: int) -> bytes:
        if offset >= self.meta.size:
            return b""
        number, within = divmod(offset, self.chunk)
        if self._last[0] != number:
            plain = min(self.chunk, self.meta.size - number * self.chunk)
            frame = self._reader.read(self._start + number * (self.chunk + OVERHEAD), plain + OVERHEAD)
            self._last = (number, self._opener.open_frame(number + 1, frame))
        return self._last[1][within : within + size]

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def generation_of_snapshot(disk: Disk, keys: DataKeys) -> Generation | None:
    """None where there is no snapshot. Raises CorruptState."""
    if NAME not in disk.listdir():
        return None
    with _Source(disk.open(NAME), Keyring(keys)) as source:
        return source.meta.generation


class _Sink:
    """Receives a snapshot beside the current one."""

    def __init__(self, store: SnapshotStore, meta: SnapshotMeta) -> None:
        self._store = store
        self.meta = meta
        self._writer = _Writer(store, meta)
        self._parts: list[bytes] = []
        self._digest = hashlib.sha256()
        self._open = True
        self.received = 0

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        self._digest.update(data)
        self.received += len(data)
        if self.received <= self.meta.size:  # a peer cannot fill the disk with more than it announced
            self._writer.add(data)

    def finish(self) -> Snapshot | None:
        if self.received != self.meta.size or self._digest.digest() != self.meta.digest:
            self.abort()
            return None
        self._open = False
        try:
            self._writer.end()
        except BaseException:
            self._writer.drop()
            raise
        snapshot = Snapshot(meta=self.meta, data=b"".join(self._parts))
        self._parts = []
        return snapshot if self._store.install(self._writer, snapshot) else None

    def abort(self) -> None:
        if self._open:
            self._open = False
            self._parts = []
            self._writer.drop()
