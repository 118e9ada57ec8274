"""The one way to the leader: who it is, asking it once, and who may pass requests on to it.

Whether a node is a manager is what the leader's store says at this moment. A certificate outlives a demotion, and a
follower's store may not have heard of one: so nobody but the leader judges, and whatever decides anything is its to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from msgspec import Struct

from manager.raft.proposer import Member, Proposer
from manager.store.store import Store
from swarmcore.aio import Pointless, unless
from swarmcore.errors import NoLeader, OutcomeUnknown, WrongRole
from swarmcore.model.node import NodeRole
from swarmcore.rpc.caller import Caller
from swarmcore.rpc.server import Peer, RpcServer

Q = TypeVar("Q", bound=Struct)
R = TypeVar("R", bound=Struct)


def other_leader(proposer: Proposer) -> Member | None:
    """The manager to ask; None while nobody is known to lead, or this one is about to."""
    leader = proposer.leader
    return leader if leader is not None and leader.node_id != proposer.node_id else None


class Leader:
    """What a manager's parts need to know of the leader, on the leader itself and on all others."""

    def __init__(self, store: Store, proposer: Proposer, client: Caller) -> None:
        self._store, self._proposer, self._client = store, proposer, client

    @property
    def is_here(self) -> bool:
        """This manager leads, and has applied all that earlier leaders committed."""
        return self._proposer.is_leader

    def verify(self, peer: Peer) -> None:
        """`peer` passes somebody's request on. NoLeader where this manager does not lead, WrongRole for others
        than managers of the swarm."""
        if not self.is_here:
            raise NoLeader("this manager no longer leads the swarm")
        sender = self._store.view().nodes.get(peer.node_id)
        if sender is None or sender.role is not NodeRole.MANAGER:
            raise WrongRole("only a manager of the swarm may pass requests on")

    def elsewhere(self) -> Member:
        """The manager to ask; NoLeader while nobody is known to lead, or this one is not ready yet."""
        leader = other_leader(self._proposer)
        if leader is None:
            raise NoLeader("the swarm does not have a leader right now")
        return leader

    async def ask(self, request: Struct, reply: type[R], *, timeout: float) -> R:
        """Pass `request` on to the leader. A frozen one is not waited for longer than it takes to elect another.

        NoLeader, Unavailable: it was not asked. OutcomeUnknown: nobody knows whether it was carried out. Else the
        leader's own refusal.
        """
        leader = self.elsewhere()
        try:
            return await unless(
                self._client.call(leader.address, request, reply, timeout=timeout),
                self._proposer.wait_other_leader(leader.node_id),
            )
        except Pointless:
            raise OutcomeUnknown("another manager leads since the request was passed on") from None


class OnLeader(Generic[Q, R]):
    """One kind of request that the leader carries out, whichever manager it comes to. It is passed on once at most.

    `request` is the message in which managers pass it on: it names whatever only the first of them can know, such as
    the node that its TLS connection proved. `carry_out` runs on the leader; `timeout` is how long, in seconds, the
    others wait for it.
    """

    def __init__(
        self,
        leader: Leader,
        request: type[Q],
        reply: type[R],
        carry_out: Callable[[Q], Awaitable[R]],
        *,
        timeout: float,
    ) -> None:
        self._leader, self._request, self._reply = leader, request, reply
        self._carry_out, self._timeout = carry_out, timeout

    def register(self, server: RpcServer) -> None:
        server.call(self._request, self.passed_on, roles=frozenset({NodeRole.MANAGER}))

    def unregister(self, server: RpcServer) -> None:
        server.unregister(self._request)

    async def ask(self, request: Q) -> R:
        """Carried out here if this manager leads, else by the leader; the errors are `Leader.ask`'s."""
        if self._leader.is_here:
            return await self._carry_out(request)
        return await self._leader.ask(request, self._reply, timeout=self._timeout)

    async def passed_on(self, peer: Peer, request: Q) -> R:
        """From another manager; never passed on again."""
        self._leader.verify(peer)
        return await self._carry_out(request)
