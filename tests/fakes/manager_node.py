"""A daemon that is the only manager of a swarm: real control, store and views behind the API, no host below it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from manager.raft.proposer import Member
from manager.store.tables import View
from pyswarmd.config import Settings
from pyswarmd.node.membership import InitOptions, Status
from swarmcore.errors import Unavailable
from swarmcore.ids import new_id
from swarmcore.process.faults import Faults
from swarmcore.rpc.messages.control import ControlReply, ControlRequest, Create
from swarmcore.rpc.messages.logs import LogMessage, LogOptions, LogSelector
from swarmcore.rpc.messages.session import ManagerAddress
from tests.manager.control.bench import Bench
from worker.images.store import ImageStore
from worker.volumes.local import Volume


class Volumes:
    def __init__(self) -> None:
        self.names: set[str] = set()

    def list(self) -> list[Volume]:
        return [Volume(name=name, created=datetime(2030, 1, 1, tzinfo=UTC)) for name in self.names]


class Containers:
    """Of which none runs."""

    running = 0

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.volumes = Volumes()

    def has(self, text: str) -> bool:
        return text in self.names


class SilentTasks:
    async def logs(self, selector: LogSelector, options: LogOptions) -> AsyncGenerator[LogMessage, None]:
        nothing: tuple[LogMessage, ...] = ()
        for message in nothing:
            yield message


class Managing:
    """What they ask of `pyswarmd.node.manager_parts.ManagerParts`; it is its own control."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.store, self.raft = bench.store, bench.raft
        self.control, self.logs = self, SilentTasks()

    async def read(self) -> View:
        return self.store.view()

    async def recent_view(self) -> View:
        return self.store.view()

    async def carry_out(self, request: ControlRequest) -> ControlReply:
        if isinstance(request, Create) and not request.id:
            request = replace(request, id=new_id())
        return await self._bench.control.carry_out(request)


class ManagerNode:
    """What the handlers ask of `pyswarmd.node.node.Node`. `bench` is the swarm's inside."""

    hostname = "m1"
    in_swarm = True
    networks = connector = None

    def __init__(self, folder: Path) -> None:
        self.bench = Bench()
        self.clock = self.bench.clock
        self.settings = Settings(state_dir=folder, run_dir=folder / "run", hostname="m1")
        self.containers = Containers()
        self.faults = Faults()
        self.images = ImageStore(folder / "images")

    async def begin(self) -> ManagerNode:
        await self.bench.begin()
        (own,) = self.bench.store.view().nodes
        self.bench.raft.me = Member(node_id=own.id, address="10.0.0.1:2377")
        self.bench.raft.member_table = {own.id: self.bench.raft.me}
        await self.images.open()
        return self

    def status(self) -> Status:
        (own,) = (node.id for node in self.bench.store.view().nodes if node.role == "manager")
        managers = (ManagerAddress(node_id=own, address="10.0.0.1:2377"),)
        return Status(
            node_id=own, address="10.0.0.1", state="active", control_available=True, managers=managers
        )

    async def init(self, options: InitOptions) -> str:
        raise Unavailable("This node is already part of a swarm.")

    def manager(self) -> Managing:
        return Managing(self.bench)
