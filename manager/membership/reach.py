"""Whether the leader can be reached by a new connection; the raft streams of old may go on when it cannot.

A leader whose port takes nobody any more (a firewall, used-up descriptors, a certificate that others refuse) still
beats on the streams that it has, so raft keeps it, while workers that lose their session find no leader. So every
follower knocks now and then and tells the leader, over the old stream, that it does not open; the leader hands over
if most of those who follow say so.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from random import Random
from typing import Protocol

from manager.raft.proposer import Member
from swarmcore.clock import Clock, jitter
from swarmcore.errors import NotManager, SwarmError, Unavailable
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.raft import AskGeneration, GenerationReply

log = logging.getLogger(__name__)
PERIOD = 5.0
PATIENCE = 3.0  # seconds for one attempt
ATTEMPTS = 2  # that fail in a row before anything is said


class Follower(Protocol):
    """What is needed of raft."""

    @property
    def node_id(self) -> str: ...
    @property
    def leader(self) -> Member | None: ...
    def leader_is_unreachable(self) -> None: ...


class Reach:
    """Runs on every manager for as long as it is one."""

    def __init__(
        self, raft: Follower, context: Callable[[], ssl.SSLContext], clock: Clock, random: Random
    ) -> None:
        self._raft = raft
        self._context = context
        self._clock = clock
        self._random = random
        self._failed = 0
        self._whom = ""

    async def run(self) -> None:
        while True:
            await self._clock.sleep(jitter(self._random, PERIOD, 0.2))
            leader = self._raft.leader
            if leader is not None and leader.node_id != self._raft.node_id:
                await self._look(leader)

    async def _look(self, leader: Member) -> None:
        if leader.node_id != self._whom:
            self._whom, self._failed = leader.node_id, 0
        reason = await self._knock(leader.address)
        self._failed = self._failed + 1 if reason else 0
        if self._failed >= ATTEMPTS and leader == self._raft.leader:
            if self._failed == ATTEMPTS:
                log.warning(
                    "the leader takes no new connections",
                    extra={"manager": leader.node_id, "address": leader.address, "reason": reason},
                )
            self._raft.leader_is_unreachable()

    async def _knock(self, address: str) -> str:
        """Why a connection of its own does not work; empty if it does, whatever the answer is."""
        client = RpcClient(self._context)
        try:
            await client.call(address, AskGeneration(), GenerationReply, timeout=PATIENCE)
        except NotManager:
            return ""
        except Unavailable as error:
            return str(error)
        except SwarmError:
            return ""
        finally:
            await client.close()
        return ""
