"""A recovered swarm meets its past: a majority is lost, a survivor goes on alone, the lost come back as they were."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from manager.raft.core import RaftCore
from manager.raft.recovery import Recovery
from tests.sim.member import Member

if TYPE_CHECKING:
    from tests.sim.story import Story


class Recoveries:
    """The operator's part of a story: recovers, adds members, and lets those that were left behind begin anew."""

    def __init__(self, story: Story) -> None:
        self._story = story

    def begin(self) -> None:
        """All members but one are lost; that one is recovered."""
        story = self._story
        leader = story.leader()
        if story.calm:
            return
        if leader is None or leader.core is None:
            story.clock.at(0.1, self.begin)
            return
        members = sorted(leader.core.membership.members)
        survivor = story.members[story.random.choice(members)]
        if survivor.core is None or survivor.name not in survivor.core.membership.members:
            story.clock.at(0.1, self.begin)
            return
        for name in members:
            story.members[name].lose()
        story.clock.at(story.random.uniform(0.1, 0.5), partial(self._recover, survivor))

    def _recover(self, survivor: Member) -> None:
        story = self._story
        if story.calm:
            return
        recovery = Recovery(
            address=f"{survivor.name}:2377",
            generation_id=f"generation {len(story.lives)}",
            now=datetime.fromtimestamp(story.clock.time, UTC),
        )
        survivor.recover(recovery)
        story.lives.append(survivor.invariants)
        survivor.found()
        for member in story.members.values():
            story.clock.at(story.random.uniform(0.0, 2.5), member.found)

    def outside(self) -> list[Member]:
        """Those that go on as members of an earlier generation."""
        return [m for m in self._story.members.values() if m.invariants is not self._story.invariants]

    def add(self, name: str, leader: Member) -> None:
        """The leader adds a member; one of an earlier generation begins anew for it, most of the time before it."""
        story, member = self._story, self._story.members[name]
        assert leader.core is not None
        if member.invariants is not leader.invariants:
            # Without the fence nobody could tell it from a member of this generation: node ids are not used twice.
            if story.plan.fenced and story.random.random() < 0.3:
                story.clock.at(story.random.uniform(0.3, 1.0), partial(self._begin_anew, member))
            else:
                self._begin_anew(member)
        leader.ask(self._addition(name))

    def _begin_anew(self, member: Member) -> None:
        story = self._story
        if member.invariants is not story.invariants:
            member.begin_anew(story.invariants)

    def take_in(self) -> None:
        """When all is calm: who was left behind leaves and joins anew."""
        leader = self._story.leader()
        for member in self.outside():
            self._begin_anew(member)
        if len(self._story.lives) == 1 or leader is None or leader.core is None:
            return
        for name in sorted(set(self._story.names) - set(leader.core.membership.members)):
            leader.ask(self._addition(name))
            return

    def _addition(self, name: str) -> Callable[[RaftCore], None]:
        return lambda core: core.membership.add(name, f"{name}:2377", self._story.changed)
