"""Conversations with several agents: asked through their sessions, known by an id, and ended when their asker is done.

Agents answer in calls and streams of their own, which name the conversation. One whose session breaks will not answer:
so each conversation hears of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from swarmcore.errors import NotFound
from swarmcore.ids import NewId
from swarmcore.rpc.messages.session import ToAgent


class AgentLink(Protocol):
    """What speaks with agents: the dispatcher. Only a leader's has sessions."""

    def tell(self, node_id: str, message: ToAgent) -> bool:
        """False if the node has no session here."""
        ...

    def listen(self, listener: Callable[[str, bool], None]) -> None:
        """`listener(node_id, connected)` is called for every session that opens or ends."""
        ...


class Conversation(Protocol):
    """What one is told while it goes on, of any node."""

    def session_opened(self, node_id: str) -> None: ...

    def session_broke(self, node_id: str) -> None: ...


C = TypeVar("C", bound=Conversation)


class Conversations(Generic[C]):
    """Those of one kind that go on. `over`: what an agent hears that names one which has ended."""

    def __init__(self, link: AgentLink, new_id: NewId, *, over: str) -> None:
        self._new_id, self._over = new_id, over
        self._going_on: dict[str, C] = {}
        link.listen(self._session_changed)

    def __len__(self) -> int:
        return len(self._going_on)

    @contextmanager
    def begun(self, begin: Callable[[str], C]) -> Iterator[C]:
        """`begin` gets the new one's id; agents may answer until the block ends."""
        new = self._new_id()
        self._going_on[new] = begin(new)
        try:
            yield self._going_on[new]
        finally:
            del self._going_on[new]

    def find(self, conversation_id: str) -> C:
        """What an agent's answer belongs to; NotFound if that is over."""
        if (found := self._going_on.get(conversation_id)) is None:
            raise NotFound(self._over)
        return found

    def _session_changed(self, node_id: str, connected: bool) -> None:
        for conversation in tuple(self._going_on.values()):
            if connected:
                conversation.session_opened(node_id)
            else:
                conversation.session_broke(node_id)
