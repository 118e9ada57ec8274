"""The loop that deletes networks which were removed while tasks on them were ending, once the last has ended."""

from __future__ import annotations

from manager.rules.current import holds_network
from manager.store.follow import follow
from manager.store.store import Store
from manager.store.tables import Tables, View
from manager.store.tx import Tx
from manager.store.watch import Commit
from swarmcore.aio import Turns, at_once, in_turns, stretches
from swarmcore.clock import Clock
from swarmcore.model.network import Network
from swarmcore.model.node import Node
from swarmcore.model.task import Task


class NetworkReaper:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pending: set[str] = set()

    async def run(self) -> None:
        # Nodes too: who is down cannot tell that a task has ended.
        await follow(self._store, self._clock, self, frozenset({Network, Task, Node}))

    # -- Follower ----------------------------------------------------------------------------------
    def begin(self, view: View) -> None:
        self._pending = {network.id for network in view.networks if network.pending_delete}

    def note(self, commit: Commit) -> None:
        for change in commit.changes:
            if isinstance(change.new, Network) and change.new.pending_delete:
                self._pending.add(change.new.id)

    async def act(self) -> float | None:
        """Networks rarely wait, and seldom more than one: looking at all tasks then is cheap enough."""
        if not self._pending:
            return None
        free = self._pending - await in_turns(held_in_turns(self._store.view(), self._pending))
        if free:
            await self._store.batch(sorted(free), _delete)
            networks = self._store.view().networks
            self._pending = {network_id for network_id in self._pending if network_id in networks}
        return None


def held(view: Tables, network_ids: set[str]) -> set[str]:
    """Those of the networks that a task still needs."""
    return at_once(held_in_turns(view, network_ids))


def held_in_turns(view: Tables, network_ids: set[str]) -> Turns[set[str]]:
    found: set[str] = set()
    for tasks in stretches(view.tasks):
        found |= {
            network_id
            for task in tasks
            if task.networks_attachments or task.spec.networks
            for network_id in network_ids
            if holds_network(task, network_id, view.nodes.get(task.node_id))
        }
        yield
    return found


def _delete(tx: Tx, network_id: str) -> None:
    network = tx.networks.get(network_id)
    if network is not None and network.pending_delete and not held(tx, {network_id}):
        tx.networks.delete(network_id)
