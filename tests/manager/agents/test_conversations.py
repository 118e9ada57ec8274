"""Conversations with agents are found while they last, and hear of sessions only then."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from manager.agents.conversations import Conversations
from swarmcore.errors import NotFound
from swarmcore.rpc.messages.session import ToAgent


class Link:
    def __init__(self) -> None:
        self.listeners: list[Callable[[str, bool], None]] = []

    def tell(self, node_id: str, message: ToAgent) -> bool:
        return False

    def listen(self, listener: Callable[[str, bool], None]) -> None:
        self.listeners.append(listener)

    def session(self, node_id: str, connected: bool) -> None:
        for listener in self.listeners:
            listener(node_id, connected)


class Talk:
    def __init__(self, talk_id: str) -> None:
        self.id = talk_id
        self.heard: list[tuple[str, bool]] = []

    def session_opened(self, node_id: str) -> None:
        self.heard.append((node_id, True))

    def session_broke(self, node_id: str) -> None:
        self.heard.append((node_id, False))


def conversations(link: Link) -> Conversations[Talk]:
    ids = count(1)
    return Conversations(link, lambda: f"c{next(ids)}", over="that is over")


def test_a_conversation_is_found_by_its_id_until_it_ends() -> None:
    talks = conversations(Link())
    with talks.begun(Talk) as first, talks.begun(Talk) as second:
        assert (first.id, second.id) == ("c1", "c2")
        assert talks.find("c1") is first and talks.find("c2") is second
    assert len(talks) == 0
    with pytest.raises(NotFound, match="that is over"):
        talks.find("c1")


def test_it_ends_with_its_block_however_that_ends() -> None:
    talks = conversations(Link())
    with pytest.raises(KeyError), talks.begun(Talk):
        raise KeyError
    assert len(talks) == 0


def test_every_one_that_goes_on_hears_of_sessions() -> None:
    link = Link()
    talks = conversations(link)
    link.session("n1", True)
    with talks.begun(Talk) as first, talks.begun(Talk) as second:
        link.session("n1", False)
        link.session("n2", True)
    link.session("n3", False)
    assert first.heard == second.heard == [("n1", False), ("n2", True)]
