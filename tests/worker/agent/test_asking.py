"""Questions that any manager may answer: one that does not is passed over, an answer of its own is final."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

import msgspec
import pytest

from swarmcore.errors import Forbidden, NoLeader, OutcomeUnknown, SwarmError, Unavailable
from swarmcore.rpc.messages.attachments import AttachmentReply, RequestDetachment
from swarmcore.rpc.peers import Remotes
from tests.fakes.raft import StepClock
from worker.agent.asking import LONGEST, Managers

R = TypeVar("R", bound=msgspec.Struct)
ASKED = RequestDetachment(task_id="t1")
ANSWER = AttachmentReply(task_id="t1")


class FakeClient:
    """Managers by address, each with what it answers next; the last answer stays."""

    def __init__(self, answers: dict[str, Sequence[SwarmError | AttachmentReply]]) -> None:
        self._answers = {address: list(each) for address, each in answers.items()}
        self.asked: list[str] = []
        self.timeouts: list[float] = []

    async def call(self, address: str, request: msgspec.Struct, reply: type[R], *, timeout: float = 5.0) -> R:
        self.asked.append(address)
        self.timeouts.append(timeout)
        waiting = self._answers[address]
        answer: Any = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, SwarmError):
            raise answer
        assert isinstance(answer, reply)
        return answer


def managers(client: FakeClient, *addresses: str) -> Managers:
    return Managers(client, Remotes(Random(1), addresses), StepClock())


@pytest.mark.parametrize(
    "failure", [Unavailable("down"), OutcomeUnknown("late"), NoLeader("election")], ids=repr
)
async def test_another_manager_is_asked_when_one_does_not_answer(failure: SwarmError) -> None:
    client = FakeClient({"a": [failure], "b": [ANSWER]})
    asking = managers(client, "a", "b")
    for _ in range(10):
        assert await asking.ask(ASKED, AttachmentReply, patience=5) == ANSWER
    assert set(client.asked) == {"a", "b"}
    assert max(client.timeouts) <= LONGEST


async def test_an_election_is_waited_for() -> None:
    client = FakeClient({"a": [NoLeader("election"), NoLeader("election"), ANSWER]})
    assert await managers(client, "a").ask(ASKED, AttachmentReply, patience=5) == ANSWER


async def test_an_error_of_the_leader_is_the_answer() -> None:
    client = FakeClient({"a": [Forbidden("no"), ANSWER]})
    with pytest.raises(Forbidden):
        await managers(client, "a").ask(ASKED, AttachmentReply, patience=5)
    assert client.asked == ["a"]


async def test_patience_ends() -> None:
    client = FakeClient({"a": [Unavailable("down")], "b": [Unavailable("down")]})
    with pytest.raises(Unavailable):
        await managers(client, "a", "b").ask(ASKED, AttachmentReply, patience=2)
    assert 3 < len(client.asked) < 20
    assert set(client.asked) == {"a", "b"}


async def test_without_a_known_manager_nobody_is_asked() -> None:
    client = FakeClient({})
    with pytest.raises(Unavailable, match="no manager's address is known"):
        await managers(client).ask(ASKED, AttachmentReply, patience=2)
