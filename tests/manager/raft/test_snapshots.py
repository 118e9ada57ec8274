"""The snapshot store: whole or not at all, never older, readable while it is replaced."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager.raft.disk import RealDisk
from manager.raft.interfaces import CorruptState, Snapshot
from manager.raft.messages import Configuration, SnapshotMeta
from manager.raft.snapshots import NAME, SnapshotStore
from pki.seal import DataKeys
from tests.sim.disk import Crash, SimDisk

KEY, NEW_KEY = b"k" * 32, b"n" * 32
KEYS = DataKeys(current=KEY)
MEMBERS = {"m1": "10.0.0.1:2377"}


def store(disk: SimDisk, keys: DataKeys = KEYS, *, chunk: int = 100) -> SnapshotStore:
    return SnapshotStore(disk, keys, chunk=chunk)


def data_of(index: int) -> bytes:
    return Random(index).randbytes(index * 7)


def meta_of(index: int) -> SnapshotMeta:
    data = data_of(index)
    digest = hashlib.sha256(data).digest()
    return SnapshotMeta(index=index, term=2, members=MEMBERS, size=len(data), digest=digest)


def write(snapshots: SnapshotStore, index: int) -> SnapshotMeta:
    return snapshots.write(index, 2, Configuration(members=MEMBERS), data_of(index))


def receive(snapshots: SnapshotStore, index: int, piece: int = 33) -> Snapshot | None:
    sink = snapshots.receive(meta_of(index))
    data = data_of(index)
    for at in range(0, len(data), piece):
        sink.write(data[at : at + piece])
    return sink.finish()


def loaded(disk: SimDisk, keys: DataKeys = KEYS) -> int:
    """The index of a verified snapshot, 0 for none."""
    snapshot = store(disk, keys).load()
    if snapshot is None:
        return 0
    assert snapshot == Snapshot(meta=meta_of(snapshot.meta.index), data=data_of(snapshot.meta.index))
    return snapshot.meta.index


def test_there_is_none_at_first() -> None:
    snapshots = store(SimDisk())
    assert snapshots.load() is None
    assert snapshots.open() is None


@given(st.binary(max_size=1000), st.integers(1, 400))
def test_a_written_snapshot_comes_back_and_survives_power_loss(data: bytes, chunk: int) -> None:
    disk = SimDisk()
    meta = store(disk, chunk=chunk).write(9, 3, Configuration(members=MEMBERS), data)
    disk.crash()
    assert store(disk, chunk=chunk).load() == Snapshot(meta=meta, data=data)
    assert disk.listdir() == [NAME]


def test_an_older_one_changes_nothing_and_the_current_meta_is_the_answer() -> None:
    disk = SimDisk()
    snapshots = store(disk)
    newest = write(snapshots, 50)
    assert write(snapshots, 40) == newest
    assert write(snapshots, 50) == newest
    assert receive(snapshots, 45) is None
    assert disk.listdir() == [NAME]
    assert loaded(disk) == 50


@pytest.mark.parametrize("piece", [1, 99, 100, 101, 5000])
def test_a_received_snapshot_is_verified_and_installed(piece: int) -> None:
    disk = SimDisk()
    snapshots = store(disk)
    write(snapshots, 10)
    assert receive(snapshots, 60, piece) == Snapshot(meta=meta_of(60), data=data_of(60))
    assert write(snapshots, 55).index == 60
    disk.crash()
    assert loaded(disk) == 60


def test_a_received_snapshot_that_is_not_what_was_announced_leaves_no_trace() -> None:
    disk = SimDisk()
    snapshots = store(disk)
    write(snapshots, 10)
    for wrong in (data_of(60)[:-1], data_of(60)[:-1] + b"!", data_of(60) + b"!", bytes(100_000)):
        sink = snapshots.receive(meta_of(60))
        sink.write(wrong)
        assert sink.received == len(wrong)
        assert sink.finish() is None
    sink = snapshots.receive(meta_of(60))
    sink.write(b"part")
    sink.abort()
    sink.abort()
    assert disk.listdir() == [NAME]
    assert loaded(disk) == 10


def test_a_peer_cannot_fill_the_disk_with_more_than_it_announced() -> None:
    disk = SimDisk()
    sink = store(disk).receive(meta_of(10))
    for _ in range(100):
        sink.write(bytes(1000))
    assert len(disk.read(disk.listdir()[0])) < 1000


def test_one_that_is_being_sent_stays_readable_when_it_is_replaced() -> None:
    disk = SimDisk()
    snapshots = store(disk)
    write(snapshots, 40)
    source = snapshots.open()
    assert source is not None
    write(snapshots, 80)
    data = b""
    while part := source.read(len(data), 77):
        data += part
    assert (source.meta, data) == (meta_of(40), data_of(40))
    source.close()


def test_a_closed_store_is_changed_by_no_thread_of_its_past() -> None:
    disk = SimDisk()
    snapshots = store(disk)
    write(snapshots, 10)
    snapshots.close()
    write(snapshots, 90)
    assert disk.listdir() == [NAME]
    assert loaded(disk) == 10


# ---------------------------------------------------------------------------------- crashes and failures
@settings(deadline=None, max_examples=150)
@given(st.integers(0, 1 << 40))
def test_a_crash_at_any_operation_leaves_the_last_snapshot_or_the_next(seed: int) -> None:
    random = Random(seed)
    disk = SimDisk(random)
    finished = 0
    for _ in range(5):
        fatal = random.randint(1, 70)

        def hook(operation: str) -> None:
            nonlocal fatal
            fatal -= 1
            if fatal == 0:
                raise Crash(operation)

        begun = finished
        try:
            snapshots = store(disk)
            snapshots.load()
            disk.hook = hook
            for _ in range(5):
                begun += random.randint(1, 20)
                meta = write(snapshots, begun) if random.random() < 0.5 else receive(snapshots, begun)
                assert meta is not None
                finished = begun
        except Crash:
            pass
        disk.crash(power=random.random() < 0.7)
        found = loaded(disk)
        assert found in (finished, begun)
        assert disk.listdir() == ([NAME] if found else [])
        finished = found


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 1 << 40), st.sampled_from([errno.ENOSPC, errno.EIO]), st.booleans())
def test_a_disk_that_fails_leaves_the_last_snapshot_or_the_next(seed: int, code: int, power: bool) -> None:
    random = Random(seed)
    disk = SimDisk(random)
    snapshots = store(disk)
    write(snapshots, 10)
    countdown = random.randint(1, 12)

    def hook(operation: str) -> None:
        nonlocal countdown
        if not operation.endswith("done"):
            countdown -= 1
            if countdown == 0:
                raise OSError(code, operation)

    disk.hook = hook
    make = random.choice((write, receive))
    finished = 10
    with pytest.raises(OSError) as raised:
        while True:
            make(snapshots, finished + 10)
            finished += 10
    assert raised.value.errno == code
    disk.crash(power=power)
    assert loaded(disk) in (finished, finished + 10)


@settings(deadline=None)
@given(st.integers(0))
def test_a_flipped_bit_anywhere_in_the_snapshot_is_noticed(place: int) -> None:
    disk = SimDisk()
    write(store(disk), 50)
    disk.flip(NAME, place % (8 * len(disk.read(NAME))))
    with pytest.raises(CorruptState, match=NAME):
        loaded(disk)


@settings(deadline=None)
@given(st.integers(0))
def test_a_snapshot_cut_off_anywhere_is_noticed(place: int) -> None:
    disk = SimDisk()
    write(store(disk), 50)
    disk.cut(NAME, place % len(disk.read(NAME)))
    with pytest.raises(CorruptState, match=NAME):
        loaded(disk)


def test_one_that_rots_while_it_is_sent_is_noticed() -> None:
    disk = SimDisk()
    snapshots = store(disk)
    write(snapshots, 50)
    source = snapshots.open()
    assert source is not None
    disk.flip(NAME, 8 * (len(disk.read(NAME)) - 40))
    with pytest.raises(CorruptState, match=NAME):
        for at in range(0, source.meta.size, 50):
            source.read(at, 50)


# ---------------------------------------------------------------------------------- keys
def test_after_a_rotation_and_a_start_the_old_data_key_is_not_needed_any_more() -> None:
    disk = SimDisk()
    write(store(disk), 50)
    with pytest.raises(CorruptState, match="a data key that this node does not have"):
        loaded(disk, DataKeys(current=NEW_KEY))
    assert loaded(disk, DataKeys(current=NEW_KEY, older=(KEY,))) == 50
    disk.crash()
    assert loaded(disk, DataKeys(current=NEW_KEY)) == 50


def test_no_two_files_have_the_same_salt() -> None:
    disk = SimDisk()
    snapshots = store(disk)
    salts = set()
    for index in range(1, 10):
        write(snapshots, index)
        salts.add(disk.read(NAME)[36:52])
    assert len(salts) == 9


def test_a_snapshot_on_a_real_disk(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    snapshots = SnapshotStore(disk, KEYS, chunk=100)
    write(snapshots, 30)
    source = snapshots.open()
    assert source is not None
    assert receive(snapshots, 60) is not None
    assert source.read(0, 100) == data_of(30)[:100]
    source.close()
    assert SnapshotStore(disk, KEYS, chunk=50).load() == Snapshot(meta=meta_of(60), data=data_of(60))
    assert disk.listdir() == [NAME]
    disk.close()
