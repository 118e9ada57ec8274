"""The journal on a disk that loses, tears, flips and refuses: what was synced is there, or it says what is wrong."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager.raft.disk import RealDisk
from manager.raft.interfaces import CorruptState, RaftFatal
from manager.raft.messages import Entry
from manager.raft.storage import Wal
from pki.seal import DataKeys
from tests.sim.disk import Crash, SimDisk

KEY, NEW_KEY = b"k" * 32, b"n" * 32
KEYS = DataKeys(current=KEY)


def wal(disk: SimDisk, keys: DataKeys = KEYS, *, trailing: int = 3, segment_bytes: int = 700) -> Wal:
    """Segments so small that a handful of entries begins the next one."""
    return Wal(disk, keys, trailing=trailing, segment_bytes=segment_bytes)


def entries(first: int, count: int, term: int = 1) -> list[Entry]:
    return [(f"entry {index} of {term}".encode() * 3, index, term) for index in range(first, first + count)]


def add(journal: Wal, more: list[Entry]) -> None:
    for entry in more:
        journal.add(*entry)


def content(journal: Wal) -> tuple[list[Entry], int, str | None, int]:
    return journal[:], journal.getCurrentTerm(), journal.getVotedForNodeId(), journal.getRaftCommitIndex()


def segments(disk: SimDisk) -> list[str]:
    return [name for name in disk.listdir() if name.startswith("journal-")]


# ---------------------------------------------------------------------------------- reading back
def test_an_empty_journal_says_what_the_core_expects() -> None:
    assert content(wal(SimDisk())) == ([], 0, None, 1)


def test_what_was_synced_is_there_after_power_loss_and_the_rest_was_not_promised() -> None:
    disk = SimDisk()
    journal = wal(disk)
    add(journal, entries(1, 3))
    journal.setCurrentTerm(4, "m2")
    journal.setRaftCommitIndex(2)
    assert journal.dirty
    journal.sync()
    assert not journal.dirty
    disk.crash()
    assert content(wal(disk)) == (entries(1, 3), 4, "m2", 2)


def test_nothing_is_written_outside_sync_and_one_sync_is_one_write() -> None:
    disk = SimDisk()
    journal = wal(disk, segment_bytes=100_000)
    operations: list[str] = []
    disk.hook = operations.append
    add(journal, entries(1, 50))
    journal.deleteEntriesFrom(40)
    journal.setCurrentTerm(2, None)
    journal.reset(entries(90, 2))
    assert operations == []
    journal.sync()
    journal.sync()
    assert operations == ["write", "write done", "fdatasync", "fdatasync done"]
    assert journal.syncs == 1


def test_the_commit_index_rides_along_and_does_not_ask_for_a_sync() -> None:
    disk = SimDisk()
    journal = wal(disk)
    add(journal, entries(1, 3))
    journal.sync()
    journal.setRaftCommitIndex(3)
    assert not journal.dirty
    journal.setCurrentTerm(1, "m1")
    journal.sync()
    assert wal(disk).getRaftCommitIndex() == 3


def test_the_same_vote_again_is_not_written_again() -> None:
    journal = wal(SimDisk())
    journal.setCurrentTerm(3, "m1")
    journal.sync()
    journal.setCurrentTerm(3, "m1")
    assert not journal.dirty


def test_a_gap_in_the_log_is_refused() -> None:
    journal = wal(SimDisk())
    add(journal, entries(5, 2))
    with pytest.raises(RaftFatal, match="entry 9 cannot follow entry 6"):
        journal.add(b"", 9, 1)


def test_a_snapshot_leaves_some_entries_for_slow_followers_and_their_room_is_given_back() -> None:
    disk = SimDisk()
    journal = wal(disk, trailing=3, segment_bytes=2000)
    for index in range(1, 300):
        add(journal, entries(index, 1))
        journal.sync()
        journal.deleteEntriesTo(len(journal) - 1)
    assert journal[:] == entries(296, 4)
    assert len(segments(disk)) == 1
    assert len(disk.read(segments(disk)[0])) < 2500
    journal.setCurrentTerm(1, None)
    journal.sync()  # a trim alone asks for none
    assert wal(disk)[:] == entries(296, 4)


def test_a_journal_larger_than_one_frame_is_restated_whole() -> None:
    disk = SimDisk()
    journal = wal(disk)
    big = [(bytes([index]) * 400_000, index, 1) for index in range(1, 8)]
    add(journal, big)
    journal.sync()
    assert wal(disk)[:] == big


# ---------------------------------------------------------------------------------- any history, any crash
class Model:
    """What the journal says, after each synced step, in plain lists."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.term = 0
        self.vote: str | None = None

    def step(self, journal: Wal, random: Random) -> None:
        match random.randrange(6):
            case 0 if self.entries:
                at = random.randrange(len(self.entries))
                journal.deleteEntriesFrom(at)
                del self.entries[at:]
            case 1:
                first = random.randint(1, 50)
                self.entries = entries(first, random.randint(1, 3), 9)
                journal.reset(self.entries)
            case 2:
                self.term += 1
                self.vote = random.choice((None, "m1", "a manager"))
                journal.setCurrentTerm(self.term, self.vote)
            case 3 if len(self.entries) > 4:
                journal.deleteEntriesTo(len(self.entries) - 1)
                del self.entries[: len(self.entries) - 4]
            case _:
                last = self.entries[-1][1] if self.entries else 0
                more = entries(last + 1, random.randint(1, 4), self.term)
                add(journal, more)
                self.entries += more

    def state(self) -> tuple[list[Entry], int, str | None]:
        return list(self.entries), self.term, self.vote


def same_or_untrimmed(
    found: tuple[list[Entry], int, str | None], model: tuple[list[Entry], int, str | None]
) -> bool:
    """A trim alone needs no sync: entries before the model's first may still be there."""
    more, kept = found[0], model[0]
    return found[1:] == model[1:] and (more == kept or (bool(kept) and more[-len(kept) :] == kept))


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 1 << 40), st.booleans())
def test_every_synced_step_survives_a_crash_at_any_operation(seed: int, power: bool) -> None:
    """After each crash the journal says what it said at the last finished sync, or at the one that was under way."""
    random = Random(seed)
    disk = SimDisk(random)
    model = Model()
    acknowledged = model.state()
    for _ in range(6):
        fatal = random.randint(1, 60)

        def hook(operation: str) -> None:
            nonlocal fatal
            fatal -= 1
            if fatal == 0:
                raise Crash(operation)

        disk.hook = hook
        under_way = acknowledged
        try:
            journal = wal(disk)
            found = (journal[:], journal.getCurrentTerm(), journal.getVotedForNodeId())
            assert same_or_untrimmed(found, acknowledged)
            model.entries, model.term, model.vote = list(found[0]), found[1], found[2]
            acknowledged = model.state()
            for _ in range(40):
                for _ in range(random.randint(1, 3)):
                    model.step(journal, random)
                under_way = model.state()
                journal.sync()
                acknowledged = under_way
        except Crash:
            pass
        disk.crash(power=power and random.random() < 0.7)
        survivor = wal(disk)
        found = (survivor[:], survivor.getCurrentTerm(), survivor.getVotedForNodeId())
        assert same_or_untrimmed(found, acknowledged) or same_or_untrimmed(found, under_way)
        acknowledged = found


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 1 << 40), st.sampled_from([errno.ENOSPC, errno.EIO]))
def test_a_failing_operation_is_the_last_and_loses_nothing_that_was_synced(seed: int, code: int) -> None:
    random = Random(seed)
    disk = SimDisk(random)
    journal = wal(disk)
    model = Model()
    acknowledged = under_way = model.state()
    countdown = random.randint(1, 60)

    def hook(operation: str) -> None:
        nonlocal countdown
        if not operation.endswith("done"):
            countdown -= 1
            if countdown == 0:
                raise OSError(code, operation)

    disk.hook = hook
    with pytest.raises(OSError) as first:
        while True:
            model.step(journal, random)
            under_way = model.state()
            journal.sync()
            acknowledged = under_way
    assert first.value.errno == code
    for attempt in (
        journal.sync,
        lambda: journal.setCurrentTerm(99, None),
        lambda: journal.reset([]),
    ):
        with pytest.raises(OSError, match="failed before"):
            attempt()
    disk.crash(power=random.random() < 0.5)
    survivor = wal(disk)
    found = (survivor[:], survivor.getCurrentTerm(), survivor.getVotedForNodeId())
    assert same_or_untrimmed(found, acknowledged) or same_or_untrimmed(found, under_way)


# ---------------------------------------------------------------------------------- damage
def filled(disk: SimDisk) -> str:
    """Five frames after the restatement; the name of the segment."""
    journal = wal(disk, segment_bytes=100_000)
    for index in range(1, 6):
        add(journal, entries(index, 1))
        journal.sync()
    (name,) = segments(disk)
    return name


@settings(deadline=None)
@given(st.integers(0))
def test_a_flipped_bit_anywhere_in_the_journal_refuses_to_start(place: int) -> None:
    disk = SimDisk()
    name = filled(disk)
    disk.flip(name, place % (8 * len(disk.read(name))))
    with pytest.raises(CorruptState, match=name):
        wal(disk)


@settings(deadline=None)
@given(st.integers(0))
def test_a_journal_cut_off_anywhere_is_a_prefix_of_itself_or_refused(place: int) -> None:
    disk = SimDisk()
    name = filled(disk)
    disk.cut(name, place % len(disk.read(name)))
    try:
        found = wal(disk)[:]
    except CorruptState:
        return  # not even the restatement is whole
    assert found == entries(1, len(found))


def test_a_journal_cut_off_in_its_restatement_is_refused() -> None:
    """It was complete before it got its name; and without it term and vote would be forgotten."""
    disk = SimDisk()
    filled(disk)
    wal(disk)
    (name,) = segments(disk)
    whole = len(disk.read(name))
    for size in range(whole - 1, 0, -7):
        disk.cut(name, size)
        with pytest.raises(CorruptState, match=name):
            wal(disk)


def test_a_damaged_journal_is_left_as_it_is() -> None:
    disk = SimDisk()
    name = filled(disk)
    disk.flip(name, 8 * 200)
    before = disk.read(name)
    with pytest.raises(CorruptState):
        wal(disk)
    assert segments(disk) == [name]
    assert disk.read(name) == before


def test_a_segment_under_another_name_is_refused() -> None:
    disk = SimDisk()
    disk.rename(filled(disk), "journal-0000000000000009")
    with pytest.raises(CorruptState, match="it is segment 1 under another name"):
        wal(disk)


def test_a_lost_journal_beside_a_snapshot_is_refused() -> None:
    disk = SimDisk()
    disk.create("snapshot")
    disk.create("journal-0000000000000001.tmp")
    with pytest.raises(CorruptState, match="journal is gone"):
        wal(disk)


def test_leftovers_of_a_crash_are_removed_and_the_newest_segment_counts() -> None:
    disk = SimDisk()
    wal(disk)
    filled(disk)
    for name in ("journal-0000000000000001", "journal-0000000000000009.tmp"):
        disk.create(name).write(b"leftover")
    assert wal(disk)[:] == entries(1, 5)
    assert segments(disk) == ["journal-0000000000000003"]


# ---------------------------------------------------------------------------------- keys
def test_every_life_begins_a_new_segment_under_a_new_salt() -> None:
    """A torn frame's nonce may have been used: its key is never used again."""
    headers = []
    disk = SimDisk()
    for _ in range(5):
        wal(disk)
        (name,) = segments(disk)
        headers.append(disk.read(name)[36:52])
    assert len(set(headers)) == 5


def test_after_a_rotation_the_old_data_key_is_not_needed_any_more() -> None:
    disk = SimDisk()
    filled(disk)
    with pytest.raises(CorruptState, match="a data key that this node does not have"):
        wal(disk, DataKeys(current=NEW_KEY))
    wal(disk, DataKeys(current=NEW_KEY, older=(KEY,)))
    assert wal(disk, DataKeys(current=NEW_KEY))[:] == entries(1, 5)


# ---------------------------------------------------------------------------------- the real disk
def test_the_journal_on_a_real_disk(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path / "raft")
    journal = Wal(disk, KEYS, trailing=3, segment_bytes=2000)
    add(journal, entries(1, 100))
    journal.setCurrentTerm(2, "m3")
    journal.sync()
    journal.close()
    with pytest.raises(OSError, match="closed"):
        journal.sync()
    disk.close()
    disk = RealDisk(tmp_path / "raft")
    journal = Wal(disk, KEYS)
    assert content(journal) == (entries(1, 100), 2, "m3", 1)
    journal.close()
    disk.close()


@pytest.mark.parametrize("call", ["clear"])
def test_what_pysyncobj_must_not_call_says_so(call: str) -> None:
    unwanted: Callable[[], Any] = getattr(wal(SimDisk()), call)
    with pytest.raises(AssertionError):
        unwanted()
