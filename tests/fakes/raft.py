"""A raft of one in memory: a Proposer that applies at once, and can be told to fail as the real one does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from manager.raft.proposer import Member, RaftStatus, StateMachine
from manager.store.store import Store
from swarmcore.errors import FailedPrecondition, NoLeader, NotFound, OutcomeUnknown


class SoloRaft:
    """`log` holds every accepted proposal. Several machines stand for the stores of several managers."""

    def __init__(
        self, *machines: StateMachine, node_id: str = "manager1", address: str = "10.0.0.1:2377"
    ) -> None:
        self.machines = list(machines)
        self.log: list[bytes] = []
        self.leading = True
        self.term_now = 1
        self.index = 0
        self.barriers = 0
        self.me = Member(node_id=node_id, address=address)
        self.other_leader: Member | None = None
        self.member_table: dict[str, Member] = {node_id: self.me}
        self._lead_changed = asyncio.Event()
        self._unknown: list[bool] = []  # for each coming proposal: commit it, or lose it

    def lose_next_answer(self, *, committed: bool) -> None:
        """The next proposal raises OutcomeUnknown; it is applied all the same if `committed`."""
        self._unknown.append(committed)

    def inject(self, data: bytes) -> int:
        """An entry that someone else proposed."""
        self.index += 1
        self.log.append(data)
        for machine in self.machines:
            machine.apply(data, self.index)
        return self.index

    @property
    def node_id(self) -> str:
        return self.me.node_id

    @property
    def is_leader(self) -> bool:
        return self.leading

    @property
    def leader(self) -> Member | None:
        return self.me if self.leading else self.other_leader

    @property
    def term(self) -> int:
        return self.term_now

    @property
    def members(self) -> Mapping[str, Member]:
        return dict(self.member_table)

    def status(self) -> RaftStatus:
        return RaftStatus(
            node_id=self.node_id,
            leader=self.leader.node_id if self.leader else None,
            term=self.term_now,
            commit_index=self.index,
            applied_index=self.index,
            members=self.members,
            reachable=dict.fromkeys(self.member_table, True),
        )

    async def propose(self, data: bytes) -> int:
        self._require_lead()
        if self._unknown:
            if self._unknown.pop(0):
                self.inject(data)
            raise OutcomeUnknown("the answer was lost")
        return self.inject(data)

    async def read_barrier(self) -> int:
        if not self.leading and self.other_leader is None:
            raise NoLeader("no quorum")
        self.barriers += 1
        return self.index

    def _require_lead(self) -> None:
        if not self.leading:
            raise NoLeader("this manager does not lead")

    async def add_member(self, member: Member) -> None:
        self._require_lead()
        self.member_table[member.node_id] = member

    async def remove_member(self, node_id: str) -> None:
        if node_id == self.node_id:
            await self.transfer_lead()
            raise NoLeader("the lead was handed over; the new leader can remove this manager")
        self._require_lead()
        if node_id not in self.member_table:
            raise NotFound(f"{node_id} is not a manager of this swarm")
        del self.member_table[node_id]

    async def transfer_lead(self, to: str | None = None) -> None:
        self._require_lead()
        others = {node_id: m for node_id, m in self.member_table.items() if node_id != self.node_id}
        if not others:
            raise FailedPrecondition("there is no other manager to hand the lead to")
        if to is not None and to not in others:
            raise FailedPrecondition(f"{to} is not another manager of this swarm")
        self.other_leader = next(iter(others.values())) if to is None else others[to]
        self.lead(False)

    async def wait_other_leader(self, node_id: str) -> None:
        while (leader := self.leader) is None or leader.node_id == node_id:
            await self._lead_changed.wait()

    async def wait_lead(self, leading: bool) -> None:
        while self.leading != leading:
            await self._lead_changed.wait()

    def lead(self, leading: bool) -> None:
        """Win or lose the lead, and tell those who wait for it."""
        self.leading = leading
        changed, self._lead_changed = self._lead_changed, asyncio.Event()
        changed.set()


class StepClock:
    """Wall time that starts in 2030 and only moves by `sleep` and by reading it (1 ms each)."""

    def __init__(self) -> None:
        self._now = datetime(2030, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self._now.timestamp()

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


def solo_store() -> tuple[Store, SoloRaft]:
    """A store on a raft of one."""
    store = Store(StepClock())
    raft = SoloRaft(store)
    store.attach(raft)
    return store, raft
