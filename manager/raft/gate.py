"""The durability gate: a message that promises something leaves only after the journal has synced the promise."""

from __future__ import annotations

from manager.raft.interfaces import Journal, PeerTransport
from manager.raft.messages import AppendEntries, Heartbeat, Message, SnapshotChunk

#: A leader may send its entries while its own disk still writes: it counts itself only after its own sync.
_PROMISES_NOTHING = (AppendEntries, Heartbeat, SnapshotChunk)


class Gate:
    """Between the core and the transport."""

    def __init__(self, journal: Journal, transport: PeerTransport) -> None:
        self._journal = journal
        self._transport = transport
        self._held: list[tuple[str, Message]] = []

    def send(self, peer: str, message: Message) -> bool:
        if self._journal.dirty and not isinstance(message, _PROMISES_NOTHING):
            self._held.append((peer, message))
            return True
        return self._transport.send(peer, message)

    def release(self) -> None:
        """Make everything durable, then send what waited for that. A failed sync raises: nothing is sent."""
        if self._journal.dirty:
            self._journal.sync()
        held, self._held = self._held, []
        for peer, message in held:
            self._transport.send(peer, message)
