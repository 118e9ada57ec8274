"""All of this host's networking as the daemon holds it: the kernel, the swarm's networks, this host's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from pathlib import Path
from random import Random

from netoverlay.containers.sandboxes import HostSegment
from netoverlay.host import HostNetwork
from netoverlay.netlink.surroundings import Surroundings
from pyswarmd.config import Settings
from pyswarmd.metrics import Sample
from swarmcore.aio import Backoff, Tasks, supervise
from swarmcore.clock import Clock
from swarmcore.errors import Conflict, Forbidden, NotFound, SwarmError
from swarmcore.model.network import OVERLAY
from swarmcore.process.faults import Faults
from worker.containers.container import Container
from worker.networks.host_networks import HostNetworks
from worker.networks.networking import SwarmNetworking
from worker.networks.spec import free_interface


def host_file(path: str) -> str:
    """The text of a file of the host; empty where there is none."""
    try:
        return Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return ""


class NodeNetworks:
    """`open` before the executor, `close` after it."""

    def __init__(self, settings: Settings, clock: Clock, faults: Faults | None = None) -> None:
        self._clock = clock
        self._faults = faults or Faults()
        self._kernel = HostNetwork(settings.run_dir / "netns", clock)
        self.local = HostNetworks(
            settings.state_dir / "networks.json",
            self._kernel,
            clock,
            self._taken,
            lambda: self._around.routes,
        )
        self.swarm = SwarmNetworking(self._kernel, self.local, host_file, Random())
        self._around = Surroundings()
        self._tasks = Tasks()

    async def open(self) -> None:
        self.local.load()
        await self._kernel.open()
        await self.surroundings()

    def start(self) -> None:
        """Once the containers of an earlier daemon are adopted."""
        backoff = Backoff(Random())
        watch = supervise(self._kernel.run, "network watch", self._clock, backoff, self._faults)
        self._tasks.start(watch, "network watch")

    async def close(self) -> None:
        await self._tasks.close()
        await self._kernel.close()

    def _taken(self) -> list[str]:
        """Subnets that a network of this host must not overlap."""
        tables = self.swarm.tables.values()
        own = (str(ip_network(each, strict=False)) for each in self._around.addresses)
        return [*own, *(entry.subnet for table in tables for entry in table.network.subnets)]

    async def surroundings(self) -> Surroundings:
        """The host's own networks and routes, for the managers to keep away from."""
        self._around = await self._kernel.surroundings([*self.local.segments(), *self._of_swarm()])
        return self._around

    def _of_swarm(self) -> Iterator[HostSegment]:
        """Networks of the swarm that this host makes for itself, as far as it can."""
        for table in self.swarm.tables.values():
            if table.network.driver != OVERLAY:
                try:
                    yield self.local.of_swarm(table.network)
                except SwarmError:
                    continue

    def metrics(self) -> Iterator[Sample]:
        text = "Differences between the kernel and the endpoint tables that were found and repaired"
        for part, count in self._kernel.repairs.items():
            yield Sample(
                name="pyswarm_network_repairs", help=text, value=count, labels={"part": part}, counts=True
            )
        for kind, count in self._kernel.name_counts().items():
            yield Sample(
                name="pyswarm_dns",
                help="Questions to the name server",
                value=count,
                labels={"kind": kind},
                counts=True,
            )

    # -- containers that join and leave ------------------------------------------------------------
    async def connect(self, found: Container, segment: HostSegment, addresses: Sequence[str]) -> None:
        """Give a container of this host one more interface, on a network of this host."""
        sandbox = found.record.sandbox
        if found.ended.done():
            raise Conflict(f"container {found.name} has ended")
        if sandbox is None:
            raise Conflict(f"container {found.name} has no network namespace of its own")
        if any(join.segment.id == segment.id for join in sandbox.host_joins):
            raise Forbidden(f"endpoint with name {found.name} already exists in network {segment.name}")
        join = self.local.make_join(segment, sandbox.id, found.name, free_interface(sandbox), addresses)
        try:
            if not self.swarm.changed(await self._kernel.plug(sandbox.id, join)):
                raise Conflict(f"container {found.name} has ended")
        except (SwarmError, OSError):
            self.local.give_back(join, sandbox.id)
            raise

    async def disconnect(self, found: Container, segment: HostSegment) -> None:
        """Take the interface away again."""
        sandbox = found.record.sandbox
        joins = sandbox.host_joins if sandbox is not None and not found.ended.done() else ()
        join = next((join for join in joins if join.segment.id == segment.id), None)
        if join is None or sandbox is None:
            raise NotFound(f"container {found.name} is not connected to network {segment.name}")
        self.swarm.changed(await self._kernel.unplug(sandbox.id, join))
        self.local.give_back(join, sandbox.id)
