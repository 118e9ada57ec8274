"""A write that is asked for again is answered as the first time, and done once: on any manager, after any loss."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from manager.store.once import once
from manager.store.outcomes import REMEMBERED, Outcomes
from manager.store.snapshot import load
from manager.store.store import Store
from manager.store.tx import Tx
from swarmcore.errors import NotFound, OutcomeUnknown
from swarmcore.rpc.messages.control import ControlReply
from tests.fakes.raft import SoloRaft, StepClock
from tests.manager.store.objects import task

NAMES = st.sampled_from(["t1", "t2", "t3"])
WRITES = st.sampled_from(["w1", "w2", "w3", "w4", "w5"])
FATES = st.sampled_from(["", "lost", "unheard"])


def create(name: str) -> object:
    def change(tx: Tx) -> ControlReply:
        if name not in tx.tasks:
            tx.put(task(name))
        return ControlReply(id=name)

    return change


def remove(name: str) -> object:
    def change(tx: Tx) -> ControlReply:
        tx.delete(name)
        return ControlReply(id=name)

    return change


class ManyTries(RuleBasedStateMachine):
    """Clients ask again, with the same id, for what they have lost the answer to; between them others write."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(StepClock())
        self.raft = SoloRaft(self.store)
        self.store.attach(self.raft)
        self.meant: dict[
            str, tuple[str, str]
        ] = {}  # by write id: what it does, for a client uses it for one thing
        self.done: dict[str, str] = {}  # by write id: the answer, once it was carried out
        self.there: set[str] = set()

    @rule(
        write_id=WRITES,
        name=NAMES,
        what=st.sampled_from(["create", "remove"]),
        fate=st.sampled_from(["", "lost", "unheard"]),
    )
    def ask(self, write_id: str, name: str, what: str, fate: str) -> None:
        what, name = self.meant.setdefault(write_id, (what, name))
        acts = write_id not in self.done and (name in self.there) == (what == "remove")
        if fate and acts:
            self.raft.lose_next_answer(committed=fate == "unheard")
        change = create(name) if what == "create" else remove(name)
        try:
            asyncio.run(self.store.transact(once(write_id, change, ControlReply)))  # type: ignore[arg-type]
        except NotFound:
            assert write_id not in self.done and what == "remove" and name not in self.there
            return
        except OutcomeUnknown:
            if fate == "lost":
                return
        if acts:
            self.done[write_id] = name
            (self.there.add if what == "create" else self.there.discard)(name)

    @rule()
    def restore(self) -> None:
        """Another manager, from a snapshot and the log behind it."""
        self.store.restore(self.store.snapshot()(), self.raft.index)

    @invariant()
    def each_write_was_done_once(self) -> None:
        assert {item.id for item in self.store.view().tasks} == self.there


ManyTries.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_each_write_is_done_once = ManyTries.TestCase


async def test_followers_and_snapshots_remember_what_the_leader_answered() -> None:
    store = Store(StepClock())
    raft = SoloRaft(store)
    store.attach(raft)
    await store.transact(once("w1", create("t1"), ControlReply))  # type: ignore[arg-type]
    follower = Store(StepClock())
    for index, data in enumerate(raft.log, 1):
        follower.apply(data, index)
    _, _, outcomes = load(follower.snapshot()())
    assert outcomes.get("w1") is not None
    assert list(outcomes) == list(load(store.snapshot()())[2])


async def test_writes_that_share_an_entry_each_keep_their_answer() -> None:
    store = Store(StepClock())
    raft = SoloRaft(store)
    store.attach(raft)
    changes = [once(f"w{n}", create(f"t{n}"), ControlReply) for n in range(3)]  # type: ignore[arg-type]
    again = once("w1", create("t9"), ControlReply)  # type: ignore[arg-type]
    replies = await asyncio.gather(*(store.transact(change) for change in (*changes, again)))
    assert [reply.id for reply in replies] == ["t0", "t1", "t2", "t1"]
    assert {item.id for item in store.view().tasks} == {"t0", "t1", "t2"}


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    outcomes = Outcomes()
    outcomes.add((f"w{number}", b"") for number in range(REMEMBERED + 3))
    assert len(list(outcomes)) == REMEMBERED
    assert outcomes.get("w2") is None
    assert outcomes.get("w3") is not None
