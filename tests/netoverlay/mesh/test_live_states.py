"""Which states of a tracked TCP connection keep a draining container alive."""

from __future__ import annotations

from collections.abc import Collection
from socket import AF_INET, IPPROTO_TCP

import pytest
from msgspec import Struct

from netoverlay.conntrack import Flow, live_connections
from netoverlay.netns import Namespace


class Tracked(Struct):
    """The part of a namespace that is asked."""

    conntrack: Tracked | None = None
    found: list[Flow] = []

    def flows(self, addresses: Collection[str]) -> list[Flow]:
        return self.found


@pytest.mark.parametrize(
    ("state", "live"),
    [
        (1, 0),  # SYN_SENT: the server has not answered
        (2, 1),  # SYN_RECV: it has, and the client may believe that it is connected
        (3, 1),  # ESTABLISHED
        (4, 1),  # FIN_WAIT
        (5, 1),  # CLOSE_WAIT
        (6, 0),  # LAST_ACK
        (7, 0),  # TIME_WAIT
    ],
)
def test_a_connection_is_live_from_the_servers_answer_to_the_second_end(state: int, live: int) -> None:
    flow = Flow(IPPROTO_TCP, "10.0.0.3", "10.0.0.2", "10.0.0.2", False, state, b"", AF_INET)
    namespace = Tracked(conntrack=Tracked(found=[flow]))
    assert live_connections(_as_namespace(namespace), ["10.0.0.2"]) == live


def _as_namespace(tracked: Tracked) -> Namespace:
    return tracked  # type: ignore[return-value]
