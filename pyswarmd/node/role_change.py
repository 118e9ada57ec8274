"""When a node is what its spec says: an answer to a promotion or demotion means that the next request sees it."""

from __future__ import annotations

from typing import Protocol

from manager.raft.proposer import RaftStatus
from manager.store.tables import View
from pyswarmd.node.membership import Status
from swarmcore.clock import Clock
from swarmcore.errors import NotInSwarm, NotManager, Unavailable
from swarmcore.model.node import NodeRole, NodeState

WITHIN = 10.0  # seconds; a change takes one or two
_AGAIN = 0.05


class Raft(Protocol):
    def status(self) -> RaftStatus: ...


class SeesSwarm(Protocol):
    """The manager on this node."""

    @property
    def raft(self) -> Raft: ...

    async def read(self) -> View: ...


class Here(Protocol):
    """This daemon's node. `manager` raises where it is no manager."""

    def status(self) -> Status: ...

    def manager(self) -> SeesSwarm: ...


async def role_taken(here: Here, clock: Clock, node_id: str, role: NodeRole) -> None:
    """Return when the node is in its role, or when that is not to be expected any more."""
    deadline = clock.monotonic() + WITHIN
    while clock.monotonic() < deadline and await _is_changing(here, node_id, role):
        await clock.sleep(_AGAIN)


async def _is_changing(here: Here, node_id: str, role: NodeRole) -> bool:
    wanted, status = role is NodeRole.MANAGER, here.status()
    if node_id == status.node_id:
        return status.control_available is not wanted
    try:
        manager = here.manager()
        node, raft = (await manager.read()).nodes.get(node_id), manager.raft.status()
    except (NotManager, NotInSwarm):
        return False  # this node's own role is over: it sees nothing any more
    except Unavailable:
        return True  # an election, for one: ask again
    if node is None or node.spec.role is not role or node.status.state is not NodeState.READY:
        return False  # it is gone, changed again, or away: nobody can say when
    there = node_id in raft.members and raft.reachable.get(node_id, False)
    return node.role is not role or there is not wanted
