"""One simulated run: members, clients that write and read, faults, then calm, in which everything must recover."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from msgspec import Struct

from manager.raft.config import RaftConfig
from manager.raft.core import RaftCore
from tests.sim.checks import Invariants
from tests.sim.member import Member
from tests.sim.plans import Plan
from tests.sim.recovery import Recoveries
from tests.sim.world import Clock, Network


class Report(Struct, frozen=True, kw_only=True):
    """What came of a run."""

    seed: int
    violations: tuple[str, ...]
    numbers: dict[str, int]
    recovery: float


class Story:
    """Builds the world of one seed and plays it."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.seed = seed
        self.plan = plan
        self.random = Random(seed)
        self.clock = Clock()
        self.network = Network(self.clock, self.random)
        self.lives = [Invariants(self.clock)]  # one for each generation of the swarm
        self.calm = False
        self.proposed = 0
        self.changes = 0
        self.network.slowest = plan.slowest
        self.network.slow_share = plan.slow_share
        self.network.reconnect_every = plan.reconnect_every
        self.network.fenced = plan.fenced
        config = RaftConfig(
            heartbeat=plan.heartbeat,
            election_min=plan.election[0],
            election_max=plan.election[1],
            snapshot_entries=plan.snapshot_entries,
            snapshot_chunk=500,
            batch_bytes=plan.batch_bytes,
        )
        self.names = [f"n{number}" for number in range(plan.members)]
        founders = self.names[: plan.founders or plan.members]
        bootstrap = {name: f"{name}:2377" for name in founders}
        self.members = {
            name: Member(
                name,
                self.clock,
                self.network,
                self.random,
                self.invariants,
                plan.storage(seed * 100 + number),
                config,
                bootstrap if name in founders else None,
            )
            for number, name in enumerate(self.names)
        }
        for member in self.members.values():
            member.colleagues = self.members
            member.crash_probability = plan.crash_probability
            member.restart_after = plan.restart
            if plan.clocks is not None:
                member.local_clock.rate = self.random.uniform(*plan.clocks)
        self.recovery = Recoveries(self)

    @property
    def invariants(self) -> Invariants:
        """The last generation's."""
        return self.lives[-1]

    # ------------------------------------------------------------------------ the run
    def play(self) -> Report:
        for member in self.members.values():
            member.start()
        self.network.keep_connecting()
        self.clock.at(0.5, self._client)
        self.clock.at(1.0, self._fault)
        if self.plan.founders:
            self.clock.at(1.0, self._churn)
        if self.plan.recovery:
            self.clock.at(self.random.uniform(1.5, 3.0), self.recovery.begin)
        end = Clock.START + self.plan.seconds
        while self.clock.time < end and not self.invariants.violations:
            self._advance(0.25)
        recovery = 0.0 if self.invariants.violations else self._recover()
        return Report(
            seed=self.seed,
            violations=tuple(self.invariants.violations),
            recovery=recovery,
            numbers={
                "proposed": self.proposed,
                "acknowledged": len({name for life in self.lives for name in life.acknowledged}),
                "reads": sum(life.reads for life in self.lives),
                "crashes": sum(member.crashes for member in self.members.values()),
                "terms": sum(len(life.leaders) for life in self.lives),
                "changes": self.changes,
                "messages": self.network.sent,
            },
        )

    def _advance(self, seconds: float) -> None:
        self.clock.run_until(self.clock.time + seconds)
        for life in self.lives:
            life.logs_match(self.members.values())

    def _recover(self) -> float:
        """No more faults: within a time everybody must run, agree, and take writes again."""
        start = self.clock.time
        self.calm = True
        self.network.blocked.clear()
        for member in self.members.values():
            member.crash_probability = 0.0
            member.storage.failing = False
            member.found()
        self._advance(4.0)
        final = "the last write"
        while self.clock.time < start + 60 and not self.invariants.violations:
            self.recovery.take_in()
            if final not in self.invariants.acknowledged:
                leader = self.leader()
                if leader is not None:
                    self._write(leader, final)
            elif self._converged():
                break
            self._advance(0.25)
        if not self.invariants.violations:
            if not self._converged():
                lengths = {name: len(member.machine.state) for name, member in self.members.items()}
                self.invariants.violated("LIVENESS", f"no agreement after 60 calm seconds: {lengths}")
            for life in self.lives:
                life.nothing_lost(life.history)
        if self.plan.clocks is not None and not self.invariants.violations:
            self._nobody_new_connects()
        return self.clock.time - start

    def _nobody_new_connects(self) -> None:
        """The leader's old connections go on, new ones are refused: another one must lead soon."""
        old = self.leader()
        if old is None:
            return
        self.network.closed.add(old.name)
        for _ in range(10):
            for member in self.members.values():  # as reach.py does when its knocking fails
                if member.core is not None and member.core.library.leader_id == old.name:
                    member.ask(lambda core: core.handover.complain())
            self._advance(1.0)
            leader = self.leader()
            if leader is not None and leader is not old:
                return
        self.invariants.violated("REACH", f"{old.name} leads on though nobody new can connect to it")

    def _converged(self) -> bool:
        leader = self.leader()
        if leader is None or leader.core is None or self.recovery.outside():
            return False
        belonging = [self.members[name] for name in leader.core.membership.members]
        everybody_runs = all(member.alive for member in self.members.values())
        return everybody_runs and all(m.machine.state == self.invariants.history for m in belonging)

    def leader(self) -> Member | None:
        """Of the last generation."""
        members = self.members.values()
        leading = [m for m in members if m.leads and m.invariants is self.invariants]
        return max(leading, key=lambda m: m.core.library.term if m.core else 0, default=None)

    # ------------------------------------------------------------------------ clients
    def _client(self) -> None:
        if self.calm:
            return
        running = [member for member in self.members.values() if member.alive and not member.paused]
        leader = self.leader()
        for _ in range(self.plan.load * self.random.choice((1, 1, 1, 2, 5)) if running else 0):
            member = (
                leader if leader is not None and self.random.random() < 0.8 else self.random.choice(running)
            )
            if self.random.random() < 0.25:
                self._read(member)
            else:
                self.proposed += 1
                self._write(member, f"c{self.proposed}" + "x" * self.random.choice((0, 10, 100)))
        self.clock.at(self.random.uniform(0.005, 0.06), self._client)

    def _write(self, member: Member, command: str) -> None:
        def done(index: int | None) -> None:
            if index is not None:
                member.invariants.acknowledge(command)

        member.ask(lambda core: core.propose(command.encode(), done))

    def _read(self, member: Member) -> None:
        """A read barrier; a follower asks whom it takes for the leader, as RaftNode does."""
        invariants = member.invariants
        before, longest = set(invariants.acknowledged), invariants.longest_read
        reader, life = member.core, member.machine

        def confirmed(index: int | None) -> None:
            def look() -> None:
                if index is None or reader is None or member.core is not reader:
                    member.after_tick.remove(look)
                elif reader.library.applied_index >= index:
                    member.after_tick.remove(look)
                    invariants.read(member.name, life.state, before, longest)

            member.after_tick.append(look)

        def answered(index: int | None) -> None:
            if member.core is reader:
                self.clock.at(
                    self.random.uniform(0.0005, 0.05), lambda: member.ask(lambda core: confirmed(index))
                )

        def asked(leader: Member) -> None:
            if leader.invariants is invariants:  # else it has a new node id, and would refuse
                leader.ask(lambda there: there.reads.start(answered))

        def ask(core: RaftCore) -> None:
            leader = core.library.leader_id
            if leader == member.name:
                core.reads.start(confirmed)
            elif leader is not None:
                self.clock.at(self.random.uniform(0.0005, 0.05), lambda: asked(self.members[leader]))

        member.ask(ask)

    # ------------------------------------------------------------------------ faults
    def _fault(self) -> None:
        if self.calm or self.clock.elapsed > self.plan.seconds - 0.5:
            return
        getattr(self, "_" + self.random.choice(self.plan.faults))()
        self.clock.at(self.random.uniform(*self.plan.pace), self._fault)

    def _any(self) -> Member:
        return self.members[self.random.choice(self.names)]

    def _partition(self) -> None:
        shuffled = self.random.sample(self.names, len(self.names))
        cut = self.random.randint(1, len(self.names) - 1)
        pairs = {frozenset((one, other)) for one in shuffled[:cut] for other in shuffled[cut:]}
        for pair in sorted(map(sorted, pairs)):
            self.network.disconnect(*pair)
        self.network.blocked |= pairs
        self.clock.at(
            self.random.choice((0.3, 1.0, 2.5)), lambda: self.network.blocked.difference_update(pairs)
        )

    def _reset(self) -> None:
        self.network.disconnect(*self.random.sample(self.names, 2))

    def _stall(self) -> None:
        one, other = self.random.sample(self.names, 2)
        seconds = self.random.choice((0.2, 0.8, 2.0, 5.0))
        self.network.stall(one, other, seconds)
        if self.random.random() < 0.5:
            self.network.stall(other, one, seconds)

    def _crash(self) -> None:
        self._any().crash()

    def _pause(self) -> None:
        self._any().pause(self.random.choice((0.2, 0.7, 1.5)))

    def _disk(self) -> None:
        """The disk is full, or broken: from the next write on."""
        self._any().storage.failing = True

    def _leap(self) -> None:
        """A host slept, or its clock was set: all its deadlines are over at once."""
        self._any().local_clock.leap(self.random.choice((0.3, 1.0, 30.0)))

    def _handover(self) -> None:
        if (leader := self.leader()) is not None:
            leader.ask(lambda core: core.handover.start(None, lambda success: None))

    def _duel(self) -> None:
        """Two campaign at nearly the same time, cut off from each other, and voters die after voting."""
        one, other, *rest = self.random.sample(self.names, len(self.names))
        self.network.stall(one, other, 0.1)
        self.network.stall(other, one, 0.1)
        for name in (one, other):
            self.clock.at(self.random.uniform(0, 0.015), self.members[name].campaign)
        for name in rest:
            if self.random.random() < 0.5:
                self.clock.at(self.random.uniform(0.001, 0.02), self.members[name].crash)

    def _late(self) -> None:
        """A leader's entries reach one follower only, whose answers come when others led and the leader leads again."""
        leader = self.leader()
        if leader is None:
            return
        follower, heir, *rest = self.random.sample([name for name in self.names if name != leader.name], 4)
        self.network.stall(follower, leader.name, self.random.uniform(0.7, 1.2))
        for name in (heir, *rest):
            self.network.stall(leader.name, name, 0.25)
        for number in range(20):
            self._write(leader, f"late {self.clock.time} {number}")
        self.clock.at(0.1, self.members[heir].campaign)
        self.clock.at(0.5, lambda: self.network.stall(leader.name, follower, 1.2))
        self.clock.at(0.6, leader.campaign)
        for name in rest:  # with the old answers it would look like a majority
            self.clock.at(0.65, partial(self.network.stall, leader.name, name, 1.0))

    def _lonely(self) -> None:
        """Nobody hears the leader; another one leads and takes writes, and the old one is asked for reads."""
        leader = self.leader()
        if leader is None:
            return
        others = [name for name in self.names if name != leader.name]
        for name in others:
            self.network.stall(leader.name, name, 0.6)
            self.network.stall(name, leader.name, 0.6)
        heir = self.members[self.random.choice(others)]
        self.clock.at(self.random.uniform(0.01, 0.2), heir.campaign)
        for number in range(40):
            after = self.random.uniform(0.05, 0.6)
            self.clock.at(after, partial(self._write, heir, f"lonely {self.clock.time} {number}"))
            self.clock.at(after + 0.01, partial(self._read, leader))

    def _divide(self) -> None:
        """The leader and a minority on one side change the members, the majority on the other elects its own."""
        leader = self.leader()
        if leader is None:
            return
        follower, *rest = self.random.sample([name for name in self.names if name != leader.name], 4)
        pairs = {frozenset((one, other)) for one in (leader.name, follower) for other in rest}
        for pair in sorted(map(sorted, pairs)):
            self.network.disconnect(*pair)
        self.network.blocked |= pairs
        self.clock.at(0.9, lambda: self.network.blocked.difference_update(pairs))
        for name in rest[:2]:
            leader.ask(self._removal(name))
        self.clock.at(0.05, self.members[rest[0]].campaign)
        for number in range(10):
            for name in (leader.name, rest[0]):
                after = self.random.uniform(0.1, 0.5)
                self.clock.at(
                    after, partial(self._write, self.members[name], f"{name} {self.clock.time} {number}")
                )

    def _churn(self) -> None:
        if self.calm:
            return
        leader = self.leader()
        if leader is not None and leader.core is not None:
            name, members = self.random.choice(self.names), leader.core.membership.members
            if name not in members:
                self.recovery.add(name, leader)
            elif len(members) > 2 and name != leader.name:
                leader.ask(self._removal(name))
        self.clock.at(self.random.uniform(*self.plan.churn), self._churn)

    def _removal(self, name: str) -> Callable[[RaftCore], None]:
        def removed(index: int | None) -> None:
            self.changed(index)
            if index is not None and self.random.random() < 0.5:
                self.members[name].begin_anew()

        return lambda core: core.membership.remove(name, removed)

    def changed(self, index: int | None) -> None:
        self.changes += index is not None


def play(seed: int, plan: Plan) -> Report:
    return Story(seed, plan).play()
