"""A demoted manager's data go, its word holds, wherever a crash interrupts that."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.raft.disk import RealDisk
from manager.raft.interfaces import CorruptState
from manager.raft.messages import Configuration, encode_configuration
from manager.raft.open import forget_raft
from manager.raft.promise import NAME, Promise, read_promise, write_promise
from manager.raft.snapshots import SnapshotStore
from manager.raft.storage import Wal, forget
from pki.seal import DataKeys
from swarmcore.model.generation import FIRST
from tests.sim.disk import Crash, SimDisk

KEYS, NEW_KEYS = DataKeys(current=b"k" * 32), DataKeys(current=b"n" * 32)
PROMISE = Promise(term=4, vote="m2", log_term=3, index=17, segment=2)


def used(disk: SimDisk) -> None:
    """A manager's directory: a snapshot, a log that ends at entry 21 of term 3, a vote in term 4."""
    journal = Wal(disk, KEYS)
    SnapshotStore(disk, KEYS).write(12, 3, Configuration(members={"m1": ""}), b"the secret state")
    journal.reset([(b"entry", index, 3) for index in range(12, 22)])
    journal.setCurrentTerm(4, "m2")
    journal.sync()


def promised(journal: Wal) -> tuple[int, str | None, tuple[int, int]]:
    return journal.getCurrentTerm(), journal.getVotedForNodeId(), journal.floor(FIRST)


def test_one_that_was_never_demoted_has_promised_nothing() -> None:
    assert read_promise(SimDisk()) == Promise()
    assert promised(Wal(SimDisk(), KEYS)) == (0, None, (0, 0))


def test_the_data_go_and_term_vote_and_the_logs_end_stay_also_under_another_data_key() -> None:
    disk = SimDisk()
    used(disk)
    forget(disk, KEYS)
    disk.crash()
    assert disk.listdir() == [NAME]
    journal = Wal(disk, NEW_KEYS)
    assert promised(journal) == (4, "m2", (3, 21))
    assert len(journal) == 0 and SnapshotStore(disk, NEW_KEYS).load() is None
    journal.setCurrentTerm(5, None)
    journal.sync()
    assert promised(Wal(disk, NEW_KEYS)) == (5, None, (3, 21))


def test_a_second_demotion_before_it_caught_up_keeps_the_first_promise() -> None:
    disk = SimDisk()
    used(disk)
    forget(disk, KEYS)
    journal = Wal(disk, KEYS)
    journal.add(b"", 1, 0)
    journal.sync()
    forget(disk, KEYS)
    assert promised(Wal(disk, KEYS)) == (4, "m2", (3, 21))


def test_where_the_log_ended_says_nothing_of_logs_of_another_generation() -> None:
    next_one = FIRST.next("another", datetime(2026, 11, 30, tzinfo=UTC))
    disk = SimDisk()
    used(disk)
    forget(disk, KEYS)
    journal = Wal(disk, KEYS)
    assert journal.floor(FIRST) == journal.floor(None) == (3, 21)
    assert journal.floor(next_one) == (0, 0)
    journal.add(b"", 1, 0)  # it was added to a recovered swarm, and is demoted there
    journal.add(encode_configuration(Configuration(members={"m1": ""}, generation=next_one)), 2, 1)
    journal.sync()
    forget(disk, KEYS)
    journal = Wal(disk, KEYS)
    assert (journal.floor(FIRST), journal.floor(next_one)) == ((0, 0), (1, 2))


@pytest.mark.parametrize("power", [True, False])
def test_a_crash_anywhere_leaves_a_manager_that_can_be_demoted_or_has_been(power: bool) -> None:
    for fatal in range(1, 100):
        disk = SimDisk()
        used(disk)
        countdown = fatal

        def hook(operation: str) -> None:
            nonlocal countdown
            countdown -= 1
            if countdown == 0:
                raise Crash(operation)

        disk.hook = hook
        try:
            forget(disk, KEYS)
        except Crash:
            disk.crash(power=power)
        else:
            assert fatal > 20
            return
        begun = read_promise(disk) != Promise()
        journal = Wal(disk, KEYS)  # it may as well be promoted again first
        snapshot = SnapshotStore(disk, KEYS).load()
        assert promised(journal) == (4, "m2", (3, 21) if begun else (0, 0))
        assert (len(journal), snapshot is None) == ((0, True) if begun else (10, False))
        forget(disk, KEYS)
        assert disk.listdir() == [NAME]
        assert promised(Wal(disk, KEYS)) == (4, "m2", (3, 21))
    pytest.fail("it never got through")


@given(st.integers(0))
def test_a_flipped_bit_in_a_promise_is_noticed(place: int) -> None:
    disk = SimDisk()
    write_promise(disk, PROMISE)
    assert read_promise(disk) == PROMISE
    disk.flip(NAME, place % (8 * len(disk.read(NAME))))
    with pytest.raises(CorruptState, match=NAME):
        Wal(disk, KEYS)


def test_a_real_directory_is_forgotten_also_when_it_is_damaged(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    Wal(disk, KEYS).close()
    disk.close()
    forget_raft(tmp_path, KEYS)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    (tmp_path / "journal-0000000000000009").write_bytes(b"damage")
    forget_raft(tmp_path, KEYS)
    assert list(tmp_path.iterdir()) == []
