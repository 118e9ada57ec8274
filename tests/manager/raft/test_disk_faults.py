"""Faults that the disk layer must notice, each of which a change of one line would let through."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from zlib import crc32

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from manager.raft import sealed, segments, snapshots
from manager.raft.disk import RealDisk
from manager.raft.gate import Gate
from manager.raft.interfaces import CorruptState
from manager.raft.messages import AppendReply, Configuration, Message, SnapshotMeta
from manager.raft.sealed import HEADER_BYTES, OVERHEAD, Keyring, Opener, Sealer
from manager.raft.segments import LogState
from manager.raft.snapshots import NAME, SnapshotStore
from manager.raft.storage import Wal
from pki.seal import DataKeys
from tests.sim.disk import Crash, Hook, SimDisk

KEYS = DataKeys(current=b"k" * 32)
MEMBERS = {"m1": "10.0.0.1:2377"}


def journal_name(disk: SimDisk) -> str:
    (name,) = [name for name in disk.listdir() if name.startswith("journal-")]
    return name


def failing(operation: str, code: int = errno.EIO) -> Hook:
    def hook(name: str) -> None:
        if name == operation:
            raise OSError(code, operation)

    return hook


# ---------------------------------------------------------------------------------- a failed sync
class Sent:
    """A transport that only remembers."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, node_id: str, message: Message) -> bool:
        self.messages.append(message)
        return True


@pytest.mark.parametrize("operation", ["write", "fdatasync"])
def test_a_promise_is_never_sent_after_the_sync_that_it_waits_for_has_failed(operation: str) -> None:
    disk, sent = SimDisk(), Sent()
    journal = Wal(disk, KEYS)
    gate = Gate(journal, sent)  # type: ignore[arg-type]
    journal.add(b"x", 1, 1)
    promise = AppendReply(term=1, sequence=1, accepted=True, next_index=2)
    gate.send("m2", promise)
    disk.hook = failing(operation)
    with pytest.raises(OSError):
        gate.release()
    disk.hook = lambda operation: None
    assert journal.dirty
    for _ in range(2):
        with pytest.raises(OSError, match="failed before"):
            gate.release()
    gate.send("m2", promise)
    assert sent.messages == []


# ---------------------------------------------------------------------------------- what a journal restates
def test_term_vote_and_commit_index_survive_every_further_start() -> None:
    disk = SimDisk()
    journal = Wal(disk, KEYS)
    for index in range(1, 5):
        journal.add(b"x", index, 7)
    journal.setCurrentTerm(7, "m2")
    journal.setRaftCommitIndex(3)
    journal.sync()
    for _ in range(3):
        disk.crash()
        journal = Wal(disk, KEYS)
        assert (len(journal), journal.getCurrentTerm(), journal.getVotedForNodeId()) == (4, 7, "m2")
        assert journal.getRaftCommitIndex() == 3


def test_a_segment_whose_restatement_is_incomplete_is_refused_wherever_it_ends() -> None:
    """It got its name only when it was whole: an empty log here would forget the vote."""
    disk = SimDisk()
    Wal(disk, KEYS)
    name = journal_name(disk)
    whole = disk.read(name)
    for size in range(len(whole)):
        disk.cut(name, 0)
        disk.create(name).write(whole[:size])
        with pytest.raises(CorruptState, match=name):
            Wal(disk, KEYS)


def test_a_log_that_a_snapshot_replaced_whole_goes_on_at_any_index() -> None:
    disk = SimDisk()
    journal = Wal(disk, KEYS, trailing=0)
    for index in range(1, 4):
        journal.add(b"old", index, 1)
    journal.sync()
    journal.deleteEntriesTo(3)
    assert len(journal) == 0
    journal.add(b"new", 9, 2)
    journal.sync()
    disk.crash()
    assert Wal(disk, KEYS, trailing=0)[:] == [(b"new", 9, 2)]


@pytest.mark.parametrize(
    "records",
    [
        segments.entry_record(b"x", 1, 1) + segments.entry_record(b"x", 3, 1),
        segments.entry_record(b"x", 2, 1) + segments.entry_record(b"x", 2, 1),
        segments.entry_record(b"longer than this", 1, 1)[:-1],
        segments.term_record(1, None)[:-1],
        b"\x00",
        b"\xff",
    ],
    ids=["gap", "twice", "short entry", "short term", "kind 0", "kind 255"],
)
def test_records_that_this_program_does_not_write_are_refused(records: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        LogState().replay(records)
    disk = SimDisk()
    sealer = Sealer(Keyring(KEYS), segments.MAGIC, 1, Random(1).randbytes)
    restated = b"".join(LogState().restatement())
    disk.create("journal-0000000000000001").write(
        sealer.header + sealer.seal(restated) + sealer.seal(records)
    )
    with pytest.raises(CorruptState, match="what this program does not write"):
        Wal(disk, KEYS)


# ---------------------------------------------------------------------------------- sealed files
def test_a_frame_whose_head_reads_as_zeros_is_damaged_where_a_whole_one_follows() -> None:
    """Alone it would be a torn write, but what follows was written after this one had been synced."""
    plains = [b"first".ljust(2 * 512 - HEADER_BYTES - OVERHEAD), bytes(1000), b"later"]
    sealer = Sealer(Keyring(KEYS), b"testtest", 1, Random(1).randbytes)
    frames = [sealer.header, *map(sealer.seal, plains)]
    torn = bytearray(b"".join(frames[:3]))
    torn[1024:1536] = bytes(512)
    damaged = bytes(torn) + frames[3]

    def read(data: bytes) -> list[bytes]:
        return list(Opener(Keyring(KEYS), b"testtest", "file", data[:HEADER_BYTES]).frames(data))

    assert read(bytes(torn)) == plains[:1]
    with pytest.raises(CorruptState, match="frame 1 at byte 1024 is damaged"):
        read(damaged)


def test_a_later_format_version_is_refused_by_its_number() -> None:
    header = bytearray(Sealer(Keyring(KEYS), b"testtest", 1, Random(1).randbytes).header)
    struct.pack_into("<I", header, 8, sealed.VERSION + 1)
    struct.pack_into("<I", header, HEADER_BYTES - 4, crc32(header[:-4]))
    with pytest.raises(CorruptState, match="format version 2, this program reads version 1"):
        Opener(Keyring(KEYS), b"testtest", "file", bytes(header))


class Recorder:
    """Stands in for AESGCM and refuses to encrypt twice with one key and nonce."""

    used: set[tuple[bytes, bytes]]

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)

    def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        assert (self._key, nonce) not in self.used, "a key and nonce served twice"
        self.used.add((self._key, nonce))
        return self._cipher.encrypt(nonce, data, aad)

    def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        return self._cipher.decrypt(nonce, data, aad)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 40))
def test_no_key_and_nonce_serve_twice_over_crashes_and_rotations(seed: int) -> None:
    random = Random(seed)
    disk = SimDisk(random)
    keys = KEYS
    acknowledged = term = 0

    class Used(Recorder):
        used: set[tuple[bytes, bytes]] = set()  # noqa: RUF012

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "AESGCM", Used)
        for _ in range(8):
            if random.random() < 0.5:
                keys = DataKeys(current=random.randbytes(32), older=(keys.current,))
            fatal = random.randint(1, 50)

            def hook(operation: str) -> None:
                nonlocal fatal
                fatal -= 1
                if fatal == 0:
                    raise Crash(operation)

            # A start that is interrupted may leave the file under the older key, which is still known then.
            disk.hook = hook
            try:
                Wal(disk, keys, segment_bytes=300)
            except Crash:
                pass
            disk.crash(power=random.random() < 0.7)
            journal = Wal(disk, keys, segment_bytes=300)
            assert acknowledged <= journal.getCurrentTerm() <= term
            disk.hook = hook
            store = SnapshotStore(disk, keys, chunk=50)
            try:
                store.load()
                while fatal > 0:
                    term += 1
                    journal.setCurrentTerm(term, "m1")
                    journal.sync()
                    acknowledged = term
                    store.write(term, 1, Configuration(members=MEMBERS), random.randbytes(120))
            except Crash:
                pass
            disk.crash(power=random.random() < 0.7)
            Wal(disk, keys)
            SnapshotStore(disk, keys, chunk=50).load()
            ring = Keyring(keys)
            for name in [journal_name(disk), *({NAME} & {*disk.listdir()})]:
                magic = segments.MAGIC if name != NAME else snapshots.MAGIC
                header = disk.read(name)[:HEADER_BYTES]
                assert Opener(ring, magic, name, header).key_id == ring.current
        assert len(Used.used) > 8


# ---------------------------------------------------------------------------------- snapshots
def put_snapshot(disk: SimDisk, data: bytes, *, more: bytes = b"", **changes: object) -> None:
    """A snapshot as the store writes it, but for the changes."""
    fields: dict[str, object] = {"index": 5, "number": 5, "digest": hashlib.sha256(data).digest()}
    fields |= {"chunk": 50, "first": None} | changes
    meta = [fields["index"], 2, MEMBERS, len(data), fields["digest"]]
    first = fields["first"] or msgspec.msgpack.encode([meta, fields["chunk"]])
    number = fields["number"]
    assert isinstance(first, bytes) and isinstance(number, int)
    sealer = Sealer(Keyring(KEYS), snapshots.MAGIC, number, Random(1).randbytes)
    chunks = [sealer.seal(first), *(sealer.seal(data[at : at + 50]) for at in range(0, len(data), 50))]
    disk.create(NAME).write(sealer.header + b"".join(chunks) + more)


def test_a_snapshot_that_contradicts_itself_is_refused_with_the_reason() -> None:
    data = Random(1).randbytes(120)
    disk = SimDisk()
    put_snapshot(disk, data)
    snapshot = SnapshotStore(disk, KEYS, chunk=50).load()
    assert snapshot is not None and snapshot.data == data
    for reason, changes in (
        ("does not have the digest", {"digest": bytes(32)}),
        ("contradicts its header", {"number": 6}),
        ("contradicts its header", {"chunk": 0}),
        ("beginning is not readable", {"first": b"\x93"}),
        ("not what its beginning says", {"more": b"\0"}),
    ):
        put_snapshot(disk, data, **changes)
        with pytest.raises(CorruptState, match=reason):
            SnapshotStore(disk, KEYS, chunk=50).load()


def test_a_snapshot_that_was_loaded_after_a_kill_survives_power_loss() -> None:
    """Raft trims its log up to what was loaded, so the name must be durable by then."""
    for seed in range(20):
        disk = SimDisk(Random(seed))
        SnapshotStore(disk, KEYS).write(10, 2, Configuration(members=MEMBERS), b"ten")
        store = SnapshotStore(disk, KEYS)
        store.load()

        def killed(operation: str) -> None:
            if operation == "rename done":
                raise Crash(operation)

        disk.hook = killed
        with pytest.raises(Crash):
            store.write(20, 2, Configuration(members=MEMBERS), b"twenty")
        disk.crash(power=False)
        loaded = SnapshotStore(disk, KEYS).load()
        assert loaded is not None and loaded.meta.index == 20
        disk.crash()
        assert SnapshotStore(disk, KEYS).load() == loaded


@pytest.mark.parametrize("operation", ["write", "fdatasync"])
def test_a_full_disk_is_not_kept_full_by_a_snapshot_that_did_not_fit(operation: str) -> None:
    disk = SimDisk()
    store = SnapshotStore(disk, KEYS, chunk=50)
    store.write(10, 2, Configuration(members=MEMBERS), b"ten")
    data = bytes(120)
    meta = SnapshotMeta(index=20, term=2, members=MEMBERS, size=120, digest=hashlib.sha256(data).digest())

    def receive() -> None:
        sink = store.receive(meta)
        try:
            sink.write(data)
            sink.finish()
        finally:
            sink.abort()

    attempts: tuple[Callable[[], object], ...] = (
        lambda: store.write(20, 2, Configuration(members=MEMBERS), data),
        receive,
    )
    for attempt in attempts:
        disk.hook = failing(operation, errno.ENOSPC)
        with pytest.raises(OSError) as raised:
            attempt()
        assert raised.value.errno == errno.ENOSPC
        assert disk.listdir() == [NAME]


# ---------------------------------------------------------------------------------- the real disk
def test_short_writes_and_short_reads_are_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, pread = os.write, os.pread
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 4), offset))
    disk = RealDisk(tmp_path)
    file = disk.create("file")
    file.write(b"all of these bytes")
    file.close()
    assert disk.read("file") == b"all of these bytes"
    disk.close()


def test_files_directories_and_new_parents_are_synced_as_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, int]] = []

    def remember(name: str) -> Callable[[int], None]:
        real: Callable[[int], None] = getattr(os, name)

        def call(fd: int) -> None:
            synced.append((name, os.fstat(fd).st_ino))
            real(fd)

        return call

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, remember(name))
    directory = tmp_path / "state" / "raft"
    disk = RealDisk(directory)
    parents = [("fsync", path.stat().st_ino) for path in (tmp_path, tmp_path / "state")]
    assert synced == parents
    file = disk.create("file")
    file.fdatasync()
    disk.fsync_dir()
    assert synced[2:] == [
        ("fdatasync", (directory / "file").stat().st_ino),
        ("fsync", directory.stat().st_ino),
    ]
    file.close()
    disk.close()


def test_a_refused_second_holder_leaves_nothing_open(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        with pytest.raises(BlockingIOError):
            RealDisk(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    disk.close()


def test_a_read_error_at_the_start_is_an_error_and_not_an_empty_log(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    Wal(disk, KEYS).close()
    (name,) = disk.listdir()
    disk.unlink(name)
    (tmp_path / name).mkdir()  # opens, and reading it fails
    with pytest.raises(OSError) as raised:
        Wal(disk, KEYS)
    assert raised.value.errno == errno.EISDIR
    disk.close()
