"""Raft's messages between managers: streams over the node's mTLS port, frames of typed structs, bounded buffers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random

import msgspec
from msgspec import Struct

from manager.raft.fence import Fence, superseded
from manager.raft.messages import Message
from swarmcore.aio import Backoff, Tasks, owned, supervise
from swarmcore.clock import AgreedClock
from swarmcore.errors import Conflict, Invalid, Superseded, SwarmError
from swarmcore.model.generation import FIRST, Generation
from swarmcore.model.node import NodeRole
from swarmcore.process.faults import Faults
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.codec import decode
from swarmcore.rpc.messages.raft import AskGeneration, GenerationReply, RaftStream, RaftWelcome
from swarmcore.rpc.server import Peer, RpcServer
from swarmcore.rpc.stream import Stream

log = logging.getLogger(__name__)
MANAGERS = frozenset({NodeRole.MANAGER})
#: A peer that is so far behind gets nothing new: raft sends again what was dropped.
BUFFER = 8 << 20
#: Messages of one turn share a frame, up to about this size.
FRAME = 4 << 20
DIAL_TIMEOUT = 2.0
#: A link that lived so long was no refusal: it is dialled again at once.
HEALTHY = 1.0
#: Lines about refused peers that are remembered, and so at most are logged.
REMEMBERED = 256

#: Seconds between two readings of this manager's clock on a link, also where nothing else is said.
READING = 2.0


class ClockReading(Struct, frozen=True, array_like=True, tag=20):
    """What the sender's clock showed, in seconds since 1970. Not raft's: it ends in the transport."""

    time: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Message | ClockReading]).decode


class _Link:
    """One open stream: a queue of encoded messages in front of it."""

    def __init__(self, peer: str, stream: Stream[None], clock: AgreedClock) -> None:
        self.peer = peer
        self.stream = stream
        self._clock = clock
        self._read_at = float("-inf")
        self._queue: deque[msgspec.Raw] = deque()
        self._size = 0
        self._ready = asyncio.Event()

    def send(self, message: Message) -> bool:
        raw = _encode(message)
        if self._queue and self._size + len(raw) > BUFFER:
            return False
        self._queue.append(msgspec.Raw(raw))
        self._size += len(raw)
        self._ready.set()
        return True

    async def write(self) -> None:
        """Send what is queued until the stream ends."""
        while True:
            await self._ready.wait()
            frame: list[msgspec.Raw] = self._reading()
            size = 0
            while self._queue and (not frame or size + len(self._queue[0]) <= FRAME):
                raw = self._queue.popleft()
                frame.append(raw)
                size += len(raw)
            self._size -= size
            if not self._queue:
                self._ready.clear()
            if not frame:
                continue
            try:
                await self.stream.send_bytes(_encode(frame))
            except SwarmError as error:
                # The reader of this stream learns of it too and takes the link away.
                await self.stream.close(str(error))
                return

    def nudge(self) -> None:
        """Where nothing else is said, the clock's reading goes alone."""
        self._ready.set()

    def _reading(self) -> list[msgspec.Raw]:
        """This manager's clock, now and then, before everything else: the frame leaves at once."""
        now = self._clock.monotonic()
        if now - self._read_at < READING:
            return []
        self._read_at = now
        return [msgspec.Raw(_encode(ClockReading(self._clock.own_time())))]


class RaftTransport:
    """Implements interfaces.PeerTransport. Each side dials the peers that it knows, and uses what was dialled to it.

    Two managers that dial each other have two streams. Each sends on one of them until that breaks, so messages stay
    in order, and takes what comes on both. Nobody has to agree on which one to keep.

    `on_superseded` hears, once a recovery, that the swarm was recovered without this manager.
    """

    def __init__(
        self,
        node_id: str,
        server: RpcServer,
        client: RpcClient,
        random: Random,
        *,
        cluster: str = "",
        clock: AgreedClock,
        on_superseded: Callable[[str], None] = lambda reason: None,
        faults: Faults | None = None,
    ) -> None:
        self._node_id = node_id
        self._cluster = cluster
        self._faults = faults or Faults()
        self._clock = clock
        self._on_superseded = on_superseded
        self._told: set[tuple[str, str]] = set()  # what was logged of whom: dialling goes on
        self._fence = Fence(lambda: FIRST)
        self._server = server
        self._client = client
        self._random = random
        self._tasks = Tasks()
        self._dialling: dict[str, tuple[str, asyncio.Task[None]]] = {}  # peer -> address, task
        self._links: dict[str, list[_Link]] = {}  # the first one is sent on
        self._message: Callable[[str, Message], None] = lambda peer, message: None
        self._connection: Callable[[str, bool], None] = lambda peer, up: None
        server.stream(RaftStream, self._accept, roles=MANAGERS)
        server.call(AskGeneration, self._generation, roles=MANAGERS)
        self._supervised(self._tell_time, "raft clock readings")

    def _supervised(self, run: Callable[[], Awaitable[None]], name: str) -> asyncio.Task[None]:
        watched = supervise(run, name, self._clock, Backoff(self._random), self._faults)
        return self._tasks.start(watched, name)

    # -- PeerTransport -----------------------------------------------------------------------------
    def add_peer(self, node_id: str, address: str) -> None:
        known, task = self._dialling.get(node_id, ("", None))
        if known == address:
            return
        if task is not None:
            task.cancel()
        task = self._supervised(lambda: self._dial(node_id, address), "raft link")
        self._dialling[node_id] = (address, task)

    def drop_peer(self, node_id: str) -> None:
        _, task = self._dialling.pop(node_id, ("", None))
        if task is not None:
            task.cancel()
        self._clock.forget(node_id)
        for link in self._links.get(node_id, []):
            self._end(link, "the peer is no raft member any more")

    def send(self, node_id: str, message: Message) -> bool:
        links = self._links.get(node_id)
        return links is not None and links[0].send(message)

    def set_fence(self, fence: Fence) -> None:
        self._fence = fence

    def on_message(self, callback: Callable[[str, Message], None]) -> None:
        self._message = callback

    def on_connection(self, callback: Callable[[str, bool], None]) -> None:
        self._connection = callback

    async def close(self) -> None:
        self._server.unregister(RaftStream)
        self._server.unregister(AskGeneration)
        self._dialling.clear()
        self._clock.forget_all()
        await self._tasks.close()

    async def _tell_time(self) -> None:
        while True:
            await asyncio.sleep(READING)
            for links in list(self._links.values()):
                for link in links:
                    link.nudge()

    # -- links -------------------------------------------------------------------------------------
    async def _dial(self, node_id: str, address: str) -> None:
        backoff = Backoff(self._random, first=0.05, limit=1.0)
        now = asyncio.get_running_loop().time
        while True:
            began = now()
            try:
                opening = RaftStream(to=node_id, cluster=self._cluster, generation=self._fence.frame())
                async with self._client.stream(address, opening, timeout=DIAL_TIMEOUT) as stream:
                    await self._welcomed(node_id, stream)
                    await self._carry(_Link(node_id, stream, self._clock))
            except (SwarmError, OSError) as error:
                if isinstance(error, Superseded):
                    self._superseded(node_id, str(error))
                log.debug("no raft link", extra={"peer": node_id, "address": address, "reason": str(error)})
            if now() - began > HEALTHY:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _accept(self, peer: Peer, opening: RaftStream, stream: Stream[None]) -> None:
        if opening.to != self._node_id:
            raise Conflict(
                f"this is manager {self._node_id}, not {opening.to}", "the address has changed hands"
            )
        await stream.send(RaftWelcome(cluster=self._cluster, generation=self._fence.frame()))
        self._judge(peer.node_id, opening.cluster, opening.generation)
        await self._carry(_Link(peer.node_id, stream, self._clock))

    async def _welcomed(self, peer: str, stream: Stream[None]) -> None:
        """The other end's first frame: nothing is sent before it, so that nothing reaches another generation."""
        async with asyncio.timeout(DIAL_TIMEOUT):
            welcome: RaftWelcome = decode(await stream.receive_bytes(), RaftWelcome)
        try:
            self._judge(peer, welcome.cluster, welcome.generation)
        except SwarmError as error:
            await stream.fail(error)
            raise

    def _judge(self, peer: str, cluster: str, generation: Generation | None) -> None:
        """Raises, and says so on this side, where the other end is of another swarm or of another life of it."""
        if cluster and self._cluster and cluster != self._cluster:
            raise Conflict(f"manager {peer} belongs to another swarm")
        if (newer := self._fence.left_behind_by(generation)) is not None:
            reason = superseded(newer)
            self._superseded(peer, str(reason))
            raise reason
        if (own := self._fence.ahead_of(generation)) is not None:
            self._say(peer, "a manager of the swarm as it was before its recovery is refused")
            raise superseded(own)

    def _superseded(self, peer: str, reason: str) -> None:
        if self._say(peer, reason):
            self._on_superseded(reason)

    def _say(self, peer: str, line: str) -> bool:
        """One line for each peer, however often it comes back. True the first time."""
        if (peer, line) in self._told or len(self._told) > REMEMBERED:
            return False
        self._told.add((peer, line))
        log.warning(line, extra={"manager": peer})
        return True

    async def _generation(self, peer: Peer, request: AskGeneration) -> GenerationReply:
        return GenerationReply(generation=self._fence.frame())

    async def _carry(self, link: _Link) -> None:
        """Until the stream ends, which is raised."""
        links = self._links.setdefault(link.peer, [])
        links.append(link)
        if len(links) == 1:
            self._connection(link.peer, True)
        try:
            async with owned(link.write(), "raft writer"):
                while True:
                    self._take(link.peer, await link.stream.receive_bytes())
        finally:
            links.remove(link)
            if not links:
                self._links.pop(link.peer, None)
                self._connection(link.peer, False)

    def _take(self, peer: str, frame: bytes) -> None:
        try:
            messages = _decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(f"unreadable raft message: {error}") from error
        for message in messages:
            if isinstance(message, ClockReading):
                self._clock.heard(peer, message.time)
            else:
                self._message(peer, message)

    def _end(self, link: _Link, reason: str) -> None:
        link.stream.end(reason)  # at once: nothing that is on its way counts
        self._tasks.start(link.stream.close(reason), "raft link end")
