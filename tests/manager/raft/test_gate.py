"""What promises something leaves only when the promise is on disk."""

from __future__ import annotations

import pytest

from manager.raft.gate import Gate
from manager.raft.messages import AppendEntries, AppendReply, Heartbeat, Message, RequestVote, VoteReply
from manager.raft.storage import Wal
from tests.manager.raft.hand import KEYS
from tests.sim.disk import SimDisk

VOTE = VoteReply(term=2)
ANSWER = AppendReply(term=2, sequence=1, accepted=True, next_index=2)
ENTRIES = AppendEntries(
    term=2, sequence=1, commit_index=1, previous_index=1, previous_term=1, entries=[(b"x", 2, 2)]
)


class Wire:
    """Notes what the disk held at the moment of sending."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Message]] = []
        self.up = True

    def send(self, node_id: str, message: Message) -> bool:
        self.sent.append((node_id, message))
        return self.up


class Scene:
    def __init__(self) -> None:
        self.disk = SimDisk()
        self.wire = Wire()
        self.journal = Wal(self.disk, KEYS, trailing=2)
        self.gate = Gate(self.journal, self.wire)  # type: ignore[arg-type]  # it only sends

    def vote_on_disk(self) -> str | None:
        """What a process would find that begins now, after a loss of power."""
        self.disk.crash(power=True)
        return Wal(self.disk, KEYS, trailing=2).getVotedForNodeId()


def test_with_nothing_to_promise_a_message_leaves_at_once() -> None:
    scene = Scene()
    scene.journal.sync()
    assert scene.gate.send("b", ANSWER)
    scene.wire.up = False
    assert not scene.gate.send("b", ANSWER)  # there is no link
    assert scene.wire.sent == [("b", ANSWER)] * 2


def test_a_vote_is_on_disk_before_it_is_sent() -> None:
    scene = Scene()
    scene.journal.setCurrentTerm(2, "b")
    assert scene.gate.send("b", VOTE)
    assert scene.wire.sent == []
    scene.gate.release()
    assert scene.wire.sent == [("b", VOTE)]
    assert scene.vote_on_disk() == "b"


@pytest.mark.parametrize("message", [ENTRIES, Heartbeat(term=2, sequence=1)], ids=["entries", "heartbeat"])
def test_a_leaders_entries_need_not_wait_for_its_own_disk(message: Message) -> None:
    scene = Scene()
    scene.journal.add(b"x", 2, 2)
    assert scene.gate.send("b", message)
    assert scene.wire.sent == [("b", message)]


@pytest.mark.parametrize("message", [ANSWER, VOTE, RequestVote(term=2, last_index=1, last_term=1)], ids=repr)
def test_everything_else_waits_in_its_order(message: Message) -> None:
    scene = Scene()
    scene.journal.add(b"x", 2, 2)
    for peer in ("b", "c", "d"):
        scene.gate.send(peer, message)
    assert scene.wire.sent == []
    scene.gate.release()
    scene.gate.release()
    assert scene.wire.sent == [(peer, message) for peer in ("b", "c", "d")]


def test_a_disk_that_fails_lets_nothing_leave() -> None:
    scene = Scene()
    scene.journal.setCurrentTerm(2, "b")
    scene.gate.send("b", VOTE)

    def fails(operation: str) -> None:
        if operation == "fdatasync":
            raise OSError(5, "broken")

    scene.disk.hook = fails
    with pytest.raises(OSError):
        scene.gate.release()
    assert scene.wire.sent == []
