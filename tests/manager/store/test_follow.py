"""A leader's loop: the whole state first, then every commit, time when it is due, and all again when it lags."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from manager.store.follow import follow
from manager.store.store import Store
from manager.store.tables import View
from manager.store.watch import Commit
from swarmcore.aio import owned
from swarmcore.errors import NoLeader
from tests.fakes.raft import SoloRaft, solo_store
from tests.fakes.virtual_time import LoopClock, run_virtual
from tests.manager.store.objects import service


class Notes:
    """A follower that writes down what it is told, and does what the test says when it acts."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.seen: list[str] = []
        self.acts: list[float] = []  # when it was called to act
        self.due: list[float | None] = []  # what the coming acts return; None from then on
        self.work: Callable[[], Coroutine[Any, Any, None]] | None = None  # of the next act

    def begin(self, view: View) -> None:
        self.seen.append(f"all of {view.index}")

    def note(self, commit: Commit) -> None:
        self.seen.append(f"{commit.index}")

    async def act(self) -> float | None:
        self.acts.append(self.clock.monotonic())
        self.seen.append("act")
        work, self.work = self.work, None
        if work is not None:
            await work()
        return self.due.pop(0) if self.due else None


async def put(store: Store, *ids: str) -> None:
    """One commit for each."""
    for id in ids:
        async with store.update() as tx:
            tx.put(service(id))


def followed(story: Callable[[Store, SoloRaft, Notes], Coroutine[Any, Any, None]]) -> None:
    """Run a story beside a loop that has not begun yet, in virtual time."""

    async def run() -> None:
        store, raft = solo_store()
        notes = Notes()
        await put(store, "before")
        async with owned(follow(store, notes.clock, notes), "loop") as loop:
            await story(store, raft, notes)
            assert not loop.done(), "a loop goes on for ever"

    run_virtual(run())


def test_it_begins_with_the_state_and_acts_on_it_before_any_commit() -> None:
    async def story(store: Store, raft: SoloRaft, notes: Notes) -> None:
        await notes.clock.sleep(1)
        assert notes.seen == ["all of 1", "act"]

    followed(story)


def test_commits_that_came_together_are_taken_in_order_and_acted_on_once() -> None:
    async def story(store: Store, raft: SoloRaft, notes: Notes) -> None:
        await notes.clock.sleep(1)
        await put(store, "a", "b", "c")
        await notes.clock.sleep(1)
        assert notes.seen[2:] == ["2", "3", "4", "act"]
        await put(store, "d")
        await notes.clock.sleep(1)
        assert notes.seen[6:] == ["5", "act"]

    followed(story)


def test_what_is_committed_while_it_acts_is_taken_afterwards() -> None:
    async def story(store: Store, raft: SoloRaft, notes: Notes) -> None:
        async def work() -> None:
            await put(store, "its own")
            await notes.clock.sleep(5)

        notes.work = work
        await notes.clock.sleep(1)
        await put(store, "meanwhile")
        await notes.clock.sleep(10)
        assert notes.seen == ["all of 1", "act", "2", "3", "act"]

    followed(story)


def test_it_acts_again_when_it_is_due_and_then_rests_until_a_commit() -> None:
    async def story(store: Store, raft: SoloRaft, notes: Notes) -> None:
        notes.due = [3.0, 7.5]
        await notes.clock.sleep(100)
        assert notes.acts == [0.0, 3.0, 7.5]

    followed(story)


def test_what_is_overdue_is_acted_on_at_once() -> None:
    async def story(store: Store, raft: SoloRaft, notes: Notes) -> None:
        notes.due = [0.0, -5.0]
        await notes.clock.sleep(100)
        assert notes.acts == [0.0, 0.0, 0.0]

    followed(story)


def test_a_commit_wakes_it_before_it_is_due_and_replaces_the_time() -> None:
    async def story(store: Store, raft: SoloRaft, notes: Notes) -> None:
        notes.due = [10.0, 20.0]
        await notes.clock.sleep(4)
        await put(store, "a")
        await notes.clock.sleep(100)
        assert notes.acts == [0.0, 4.0, 20.0]

    followed(story)


def test_no_commit_is_lost_or_told_twice_though_time_runs_out_at_the_same_moment() -> None:
    async def story(store: Store, raft: SoloRaft, notes: Notes) -> None:
        notes.due = [float(second) for second in range(1, 20)]
        await notes.clock.sleep(1)
        for number in range(15):
            await put(store, f"s{number}")
            await notes.clock.sleep(1)  # wakes in the very moment in which the loop is due
        await notes.clock.sleep(100)
        taken = [line for line in notes.seen if line.isdigit()]
        assert taken == [str(index) for index in range(2, 17)]

    followed(story)


@pytest.mark.parametrize("due", [None, 1000.0])
def test_a_loop_that_lags_starts_over_from_the_state_and_that_is_no_failure(
    due: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(store: Store, raft: SoloRaft, notes: Notes) -> None:
        notes.due = [due]
        await notes.clock.sleep(1)
        await put(store, "a")
        store.restore(store.snapshot()(), raft.index)  # all feeds lag
        await notes.clock.sleep(1)
        assert notes.seen == ["all of 1", "act", "all of 2", "act"]
        await put(store, "b")
        await notes.clock.sleep(1)
        assert notes.seen[4:] == ["3", "act"]

    followed(story)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize("at_once", [True, False])
def test_what_fails_in_it_ends_it_for_its_supervisor_and_it_watches_no_more(at_once: bool) -> None:
    async def run() -> None:
        store, raft = solo_store()
        notes = Notes()

        async def work() -> None:
            raft.lead(False)
            await put(store, "a")

        if at_once:
            notes.work = work
        async with owned(follow(store, notes.clock, notes), "loop") as loop:
            await notes.clock.sleep(1)
            if not at_once:
                notes.work = work
                await put(store, "wakes it")
                await notes.clock.sleep(1)
            assert isinstance(loop.exception(), NoLeader)
        assert store._feeds == set()

    run_virtual(run())


def test_a_loop_that_is_cancelled_leaves_no_watch_behind() -> None:
    async def run() -> None:
        store, _ = solo_store()
        notes = Notes()
        notes.due = [50.0]
        async with owned(follow(store, notes.clock, notes), "loop"):
            await notes.clock.sleep(1)
            assert len(store._feeds) == 1
        assert store._feeds == set()

    run_virtual(run())
