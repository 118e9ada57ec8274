"""RaftNode: the Proposer of a running manager, asyncio around the core."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from random import Random
from typing import Any, TypeVar

from manager.raft.config import RaftConfig
from manager.raft.core import RaftCore
from manager.raft.driver import Driver
from manager.raft.fence import Fence
from manager.raft.interfaces import Background, Journal, PeerTransport, Snapshots
from manager.raft.messages import SnapshotMeta
from manager.raft.proposer import Member, RaftStatus, StateMachine
from manager.raft.storage import TRAILING
from swarmcore.aio import Pointless, unless
from swarmcore.errors import FailedPrecondition, NoLeader, NotFound, OutcomeUnknown, Unavailable
from swarmcore.model.generation import Generation

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Asks the leader at this address for a read index (its `read_index()`); raises Unavailable.
AskLeader = Callable[[str], Coroutine[Any, Any, int]]


class RaftNode:
    """Starts at once: `bootstrap` for the first manager of a new swarm, nothing for one that joins or restarts.

    `on_fatal` is called once when raft had to stop; every call raises from then on. `on_change` is called when the
    lead, the leader, the term or the members changed.
    """

    def __init__(
        self,
        node_id: str,
        machine: StateMachine,
        journal: Journal,
        snapshots: Snapshots,
        transport: PeerTransport,
        *,
        ask_leader: AskLeader,
        on_fatal: Callable[[Exception], None],
        clock: Callable[[], float],
        random: Random,
        config: RaftConfig | None = None,
        bootstrap: Mapping[str, str] | None = None,
        background: Background | None = None,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config or RaftConfig()
        self._ask_leader = ask_leader
        self._on_fatal = on_fatal
        self._on_close = on_close
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._changing = asyncio.Lock()
        self._linked: set[str] = set()  # peers with an open link
        self.on_change: Callable[[], None] = lambda: None
        self._core = RaftCore(
            node_id,
            machine,
            journal,
            snapshots,
            transport,
            config=self._config,
            random=random,
            clock=clock,
            background=background or self._in_thread,
            bootstrap=bootstrap,
        )
        self._begin(transport)

    def _begin(self, transport: PeerTransport) -> None:
        self._driver = Driver(self._core, self._loop, self._failed)
        self._driver.after_tick = self._after_tick
        self._seen = self._view()
        transport.set_fence(Fence(lambda: self._core.acquaintance.generation))
        transport.on_message(self._driver.receive)
        transport.on_connection(self._link_changed)
        self._driver.kick()

    # ------------------------------------------------------------------------ what is known
    @property
    def node_id(self) -> str:
        return self._core.node_id

    @property
    def is_leader(self) -> bool:
        """True once this manager leads *and* has applied everything that earlier leaders committed."""
        return self._core.ready and not self._driver.stopped

    @property
    def leader(self) -> Member | None:
        leader = self._core.library.leader_id
        address = None if leader is None else self._core.membership.members.get(leader)
        return None if leader is None or address is None else Member(node_id=leader, address=address)

    @property
    def term(self) -> int:
        return self._core.library.term

    @property
    def stopped(self) -> bool:
        """For good: closed, or by an error that `on_fatal` was told."""
        return self._driver.stopped

    @property
    def members(self) -> Mapping[str, Member]:
        return {
            node_id: Member(node_id=node_id, address=address)
            for node_id, address in self._core.membership.members.items()
        }

    @property
    def generation(self) -> Generation | None:
        """None while this manager joins and has not heard of one."""
        return self._core.acquaintance.generation

    def join_generation(self, generation: Generation) -> None:
        """Before this manager asks for its place: whoever is of another one is not listened to."""
        self._core.acquaintance.join(generation)

    def status(self) -> RaftStatus:
        library = self._core.library
        return RaftStatus(
            node_id=self.node_id,
            leader=library.leader_id,
            term=library.term,
            commit_index=library.commit_index,
            applied_index=library.applied_index,
            members=self.members,
            reachable={peer: self._reachable(peer) for peer in self._core.membership.members},
        )

    def _reachable(self, peer: str) -> bool:
        library = self._core.library
        if peer == self.node_id:
            return True
        if not library.leading:  # followers do not talk to each other, but they keep links
            return peer == library.leader_id or peer in self._linked
        return library.now() - library.answered_at(peer) <= self._config.election_max

    def _link_changed(self, peer: str, up: bool) -> None:
        (self._linked.add if up else self._linked.discard)(peer)
        self._driver.kick()

    # ------------------------------------------------------------------------ writing and reading
    async def propose(self, data: bytes) -> int:
        index = await self._call(lambda done: self._core.propose(data, done))
        if index is None:
            raise OutcomeUnknown("the lead was lost before the write was confirmed")
        return index

    async def read_index(self) -> int:
        """Leader only: the index that a reader anywhere must have applied. Serves the followers' barriers."""
        index = await self._call(self._core.reads.start)
        if index is None:
            raise NoLeader("the lead was lost before it was confirmed")
        return index

    async def read_barrier(self) -> int:
        try:
            async with asyncio.timeout(self._config.patience):
                while True:
                    if (index := await self._barrier()) is not None:
                        return index
                    await self._pause()
        except TimeoutError:
            raise NoLeader("no majority of the managers confirms who leads") from None

    async def _barrier(self) -> int | None:
        leader = self.leader
        try:
            if self.is_leader:
                return await self.read_index()
            if leader is None or leader.node_id == self.node_id:
                return None
            index = await unless(self._ask_leader(leader.address), self.wait_other_leader(leader.node_id))
        except (Unavailable, Pointless) as error:
            log.debug("read barrier asks again", extra={"error": str(error)})
            return None
        await self.wait_until(lambda: self._core.library.applied_index >= index)
        return index

    def snapshot_every(self, entries: int) -> None:
        """What the swarm's settings say; beside them the journal keeps some for slow followers."""
        self._core.library.compact_above(entries + TRAILING)

    # ------------------------------------------------------------------------ members and lead
    async def add_member(self, member: Member) -> None:
        async with self._changing:
            await self._turn_to_change()
            if self._core.membership.members.get(member.node_id) != member.address:
                await self._change(
                    lambda done: self._core.membership.add(member.node_id, member.address, done)
                )

    async def remove_member(self, node_id: str) -> None:
        if node_id == self.node_id:
            await self.transfer_lead()
            raise NoLeader("the lead was handed over; the new leader can remove this manager")
        async with self._changing:
            await self._turn_to_change()
            if node_id not in self._core.membership.members:
                raise NotFound(f"{node_id} is not a manager of this swarm")
            staying = [peer for peer in self._core.membership.members if peer != node_id]
            if 2 * sum(map(self._reachable, staying)) <= len(staying):
                raise FailedPrecondition(
                    f"removing manager {node_id} would leave no reachable majority",
                    "bring the unreachable managers back or remove them first",
                )
            await self._change(lambda done: self._core.membership.remove(node_id, done))

    async def transfer_lead(self, to: str | None = None) -> None:
        self._check_running()
        future: asyncio.Future[bool] = self._loop.create_future()
        self._driver.run(lambda: self._core.handover.start(to, lambda success: _settle(future, success)))
        if not await future:
            raise Unavailable("the lead could not be handed over in time; this manager still leads")
        await self.wait_until(lambda: self._core.library.leader_id is not None, self._config.patience)

    async def wait_other_leader(self, node_id: str) -> None:
        await self.wait_until(lambda: self._core.library.leader_id not in (None, node_id))

    def leader_is_unreachable(self) -> None:
        """Tell the leader, over the link that there is, that no new connection to it can be made."""
        self._driver.run(self._core.handover.complain)

    async def wait_lead(self, leading: bool) -> None:
        await self.wait_until(lambda: self.is_leader == leading)

    async def _turn_to_change(self) -> None:
        self._core.require_lead()
        if not await self.wait_until(
            lambda: self._core.membership.can_change() or not self._core.library.leading,
            self._config.patience,
        ):
            raise Unavailable("the last change of the managers is still not confirmed")

    async def _change(self, start: Callable[[Callable[[int | None], None]], None]) -> None:
        if await self._call(start) is None:
            raise OutcomeUnknown("the lead was lost before the change of the managers was confirmed")

    # ------------------------------------------------------------------------ machinery
    async def wait_until(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until something that raft does makes `condition` true; False if it does not in time."""
        self._check_running()
        if condition():
            return True
        waiter = (condition, self._loop.create_future())
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter[1]
        except TimeoutError:
            return condition()
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        self._check_running()
        return True

    async def _pause(self) -> None:
        """Until the lead changes, but not longer than a heartbeat: the answer may also come from the network."""
        before = self._view()
        await self.wait_until(lambda: self._view() != before, self._config.heartbeat)

    async def _call(self, start: Callable[[Callable[[int | None], None]], None]) -> int | None:
        self._check_running()
        future: asyncio.Future[int | None] = self._loop.create_future()
        self._driver.run(lambda: start(lambda index: _settle(future, index)))
        if self._driver.stopped and not future.done():
            return None
        return await future

    def _check_running(self) -> None:
        if self._driver.stopped:
            raise Unavailable("raft has stopped on this manager", "see the manager's log, then restart it")

    def _view(self) -> tuple[object, ...]:
        library = self._core.library
        return self._core.ready, library.leader_id, library.term, dict(self._core.membership.members)

    def _after_tick(self) -> None:
        for condition, future in list(self._waiting):
            if not future.done() and condition():
                future.set_result(None)
        if (view := self._view()) != self._seen:
            self._seen = view
            self.on_change()

    def _in_thread(
        self, job: Callable[[], SnapshotMeta], done: Callable[[SnapshotMeta | BaseException], None]
    ) -> None:
        def finished(future: asyncio.Future[SnapshotMeta]) -> None:
            if not future.cancelled():
                self._driver.run(lambda: done(future.exception() or future.result()))

        self._loop.run_in_executor(None, job).add_done_callback(finished)

    def _failed(self, error: Exception) -> None:
        self._release()
        self.on_change()
        self._on_fatal(error)

    def _release(self) -> None:
        self._core.abandon()
        self._core.run_callbacks()
        for _, future in self._waiting:
            _settle(future, None)

    async def close(self) -> None:
        """Stop at once. What waits is told that nobody knows; the disk holds what was promised."""
        if not self._driver.stopped:
            self._driver.stop()
            self._release()
        if self._on_close is not None:
            await self._on_close()


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)
