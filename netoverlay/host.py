"""The networking of one host: sandboxes for its containers, and a kernel that agrees with the endpoint tables.

Netlink answers within the call that asks, so everything is done by one thread of its own; names are served on the
event loop. Whatever goes wrong in the kernel behind our back is found within seconds by `run`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import ParamSpec, TypeVar

from netoverlay.containers.sandboxes import HostJoin, HostSegment, Join, SandboxSpec
from netoverlay.dns.server import DnsServer
from netoverlay.dns.transition import between
from netoverlay.ipsec.plan import RingKey
from netoverlay.netlink.surroundings import Surroundings
from netoverlay.netns import Namespace
from netoverlay.wiring.wiring import Repairs, Tables, Wiring
from swarmcore.aio import TaskGroup, to_the_end
from swarmcore.clock import Clock
from swarmcore.rpc.messages.check import HostFacts

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
SWEEP = 2.0  # seconds between two looks at the kernel; what differs is gone within twice that
_LOOK_AGAIN = 0.05  # while draining: seconds between two looks at the live connections
# A client that has just resolved the name, or whose first packet is under way, comes within this time.
_LATE_COMERS = 0.1
# A container's last FIN that got lost is sent again after 0.2 s (Linux: TCP_RTO_MIN), then after twice that.
_LAST_WORDS = 2.0
_HEARD_AGAIN = 0.01  # seconds between two looks whether they were heard
_AT_ONCE = 2  # containers that are being attached


class HostNetwork:
    def __init__(
        self, directory: Path, clock: Clock, *, sweep: float = SWEEP, home: Path | None = None
    ) -> None:
        """`home`: a file of the host's namespace where that is not the daemon's own (several hosts in one process)."""
        self._clock, self._sweep = clock, sweep
        # Of many containers the first ones shall be ready, not all of them half: enough to keep the thread busy.
        self._attaching = asyncio.Semaphore(_AT_ONCE)
        self._wiring = Wiring(directory, home)
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="netlink", initializer=self._wiring.enter_from_this_thread
        )
        self._dns = DnsServer(Random(), home=self._wiring.home if home is not None else None)
        self._tables: Tables = {}
        self._identity = ("", "")
        self._applied = asyncio.Event()
        self.repairs: dict[str, int] = {"overlays": 0, "mesh": 0, "containers": 0}

    async def _do(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._thread, lambda: function(*args, **kwargs)))

    # -- life --------------------------------------------------------------------------------------
    async def open(self) -> None:
        await self._dns.open()

    async def close(self) -> None:
        """Containers and their connections go on; only names wait for the next daemon."""
        await self._dns.close()
        await self._do(self._wiring.close)
        self._thread.shutdown()

    async def forget(self) -> None:
        """This host has left its swarm."""
        self._dns.follow({})
        await self._do(self._wiring.forget)
        self._tables, self._identity = {}, ("", "")

    async def run(self) -> None:
        """Compare the kernel with the tables, for ever; clean up behind endpoints that have gone."""
        async with TaskGroup() as group:
            group.create_task(self._compare(), name="compare the kernel")
            group.create_task(self._forget_flows(), name="forget flows")

    async def _compare(self) -> None:
        while True:
            await self._clock.sleep(self._sweep)
            self._count(await self._do(self._wiring.reconcile))

    async def _forget_flows(self) -> None:
        """A container at a time: between two, others have their turn in the thread."""
        while True:
            self._applied.clear()
            while await self._do(self._wiring.forget_some):
                pass
            await self._applied.wait()

    def _count(self, found: Repairs) -> None:
        if found.total:
            for part in self.repairs:
                self.repairs[part] += getattr(found, part)
            log.warning(
                "the kernel differed from the endpoint table, repaired",
                extra={"overlays": found.overlays, "mesh": found.mesh, "containers": found.containers},
            )

    def keys(self, keys: tuple[RingKey, ...]) -> None:
        """The keys of encrypted overlays, from the next `follow` on."""
        self._wiring.keys = keys

    # -- tables ------------------------------------------------------------------------------------
    @property
    def tables(self) -> Tables:
        return self._tables

    async def follow(self, tables: Tables, node_id: str, vtep: str) -> None:
        """Return when this host's kernel and names agree with `tables`."""
        before, self._tables, self._identity = self._tables, tables, (node_id, vtep)
        # Of an earlier daemon's containers nothing is known, but that all was reachable.
        self._dns.follow(between(before, tables) if before else tables)
        try:
            await self._do(self._wiring.follow, tables, node_id, vtep)
        finally:
            # Also if something failed: everything was tried, and all else is reachable.
            self._dns.follow(tables)
            self._applied.set()

    # -- sandboxes ---------------------------------------------------------------------------------
    async def attach(self, spec: SandboxSpec) -> str:
        """Make the sandbox; the path of its namespace."""
        async with self._attaching:
            try:
                namespace = await self._do(self._wiring.attach, spec, self._tables)
                port = self._dns.add(spec, namespace, spec.hostname)
                await self._do(self._wiring.serve, spec, port)
            except BaseException:
                # Cancelled: the thread goes on with it, and takes it down right after.
                await to_the_end(self.release(spec))
                raise
            return namespace.path

    async def adopt(self, found: Mapping[str, tuple[SandboxSpec, int]]) -> None:
        """After a restart: go on with these sandboxes, remove all others."""
        lost = await self._do(self._wiring.adopt, found)
        gone = {spec.id for spec in lost}
        for sandbox_id, (spec, _) in found.items():
            if sandbox_id in gone:
                continue  # the host was started anew: made again when the container is
            namespace = self._wiring.namespace(sandbox_id)
            assert namespace is not None
            port = self._dns.add(spec, namespace, spec.hostname)
            await self._do(self._wiring.serve, spec, port)

    async def path(self, spec: SandboxSpec) -> str:
        """Where the namespace is; the sandbox is made anew if the host has lost it."""
        found = await self._do(self._wiring.path, spec)
        return found if found is not None else await self.attach(spec)

    async def release(self, spec: SandboxSpec) -> None:
        """Take the sandbox down, once its peers know that their connections with it have ended."""
        self._dns.remove(spec.id)
        await self._last_words(spec)
        await self._do(self._wiring.release, spec)

    async def _last_words(self, spec: SandboxSpec) -> None:
        """Whoever waits for an answer of a container that was killed must get its FIN, or waits until it gives up."""
        end = self._clock.monotonic() + _LAST_WORDS
        while self._clock.monotonic() < end and await self._do(self._is_ending, spec):
            await self._clock.sleep(_HEARD_AGAIN)

    def _is_ending(self, spec: SandboxSpec) -> bool:
        try:
            return self._wiring.ending_connections(spec) > 0
        except OSError as error:
            # Nothing can be known of it: it is taken down nevertheless.
            log.warning(
                "cannot read a container's connections", extra={"sandbox": spec.id, "err": str(error)}
            )
            return False

    async def join(self, sandbox_id: str, join: Join) -> SandboxSpec:
        """One more network of the swarm for a sandbox that lives; its spec from now on. Repeatable."""
        spec = await self._do(self._wiring.join, sandbox_id, join, self._tables)
        self._serve_again(spec)
        return spec

    async def part(self, sandbox_id: str, network_id: str, mac: str) -> SandboxSpec | None:
        """Off a network of the swarm, where its interface has this hardware address; None if there is no sandbox."""
        if (known := self._wiring.spec(sandbox_id)) is None:
            return None
        self._serve_again(known.without(network_id, mac))  # unnamed first
        try:
            spec = await self._do(self._wiring.part, sandbox_id, network_id, mac)
        except BaseException:
            self._serve_again(known)
            raise
        if spec is not None:
            self._serve_again(spec)  # what was joined meanwhile counts, too
        return spec

    def _serve_again(self, spec: SandboxSpec) -> None:
        """Names of other networks than before."""
        if (namespace := self._wiring.namespace(spec.id)) is not None:
            self._dns.add(spec, namespace, spec.hostname)

    async def addresses(self, sandbox_id: str) -> tuple[str, ...]:
        return await self._do(self._wiring.addresses, sandbox_id)

    # -- checks ------------------------------------------------------------------------------------
    def namespace(self, sandbox_id: str) -> Namespace | None:
        """Of a sandbox; the host's own for ""."""
        return self._wiring.namespace(sandbox_id) if sandbox_id else self._wiring.home

    async def reconcile(self) -> int:
        """Compare the kernel with the tables now; how many differences were mended."""
        found = await self._do(self._wiring.reconcile)
        self._count(found)
        return found.total

    async def facts(self, network_id: str) -> HostFacts:
        """Of the network's devices here; "" means the ingress network."""
        if network_id:
            table = self._tables.get(network_id)
        else:
            table = next((table for table in self._tables.values() if table.network.ingress), None)
        return await self._do(self._wiring.facts, table.network if table is not None else None)

    # -- this host's own networks ------------------------------------------------------------------
    async def make_segment(self, segment: HostSegment) -> None:
        await self._do(self._wiring.make_segment, segment)

    async def remove_segment(self, segment: HostSegment) -> None:
        await self._do(self._wiring.remove_segment, segment)

    async def plug(self, sandbox_id: str, join: HostJoin) -> SandboxSpec:
        return await self._do(self._wiring.plug, sandbox_id, join)

    async def unplug(self, sandbox_id: str, join: HostJoin) -> SandboxSpec:
        return await self._do(self._wiring.unplug, sandbox_id, join)

    async def surroundings(self, segments: Iterable[HostSegment] = ()) -> Surroundings:
        """The networks that this host is in and knows the way to, without those that we made (`segments` too)."""
        return await self._do(self._wiring.surroundings, tuple(segments))

    def name_counts(self) -> dict[str, int]:
        """What the name server counted."""
        return {name: int(getattr(self._dns.counters, name)) for name in self._dns.counters.__struct_fields__}

    async def drain(self, spec: SandboxSpec, seconds: float) -> None:
        """Return when nobody is connected with the container any more, at the latest after `seconds`."""
        if not (spec.joins or spec.ingress):
            return
        end = self._clock.monotonic() + seconds
        await self._clock.sleep(min(_LATE_COMERS, seconds))
        while await self._do(self._wiring.live_connections, spec):
            left = end - self._clock.monotonic()
            if left <= 0:
                return
            await self._clock.sleep(min(_LOOK_AGAIN, left))
