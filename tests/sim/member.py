"""A simulated manager: the real core and driver on a virtual clock, a virtual network and a virtual disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Protocol

from manager.raft.config import RaftConfig
from manager.raft.core import RaftCore
from manager.raft.driver import Driver
from manager.raft.fence import Fence
from manager.raft.interfaces import Journal, Snapshots
from manager.raft.messages import KIND_REGULAR, Message, RequestVote, SnapshotMeta, VoteReply
from manager.raft.recovery import Recovery
from swarmcore.errors import SwarmError
from swarmcore.model.generation import Generation
from tests.sim.checks import Invariants
from tests.sim.disk import Crash
from tests.sim.storage import Recovered
from tests.sim.world import Clock, Handle, LocalClock, Network


class Storage(Protocol):
    """A disk that outlives the process."""

    #: True while it is told to fail (EIO, ENOSPC).
    failing: bool

    def open(self, hook: Callable[[str], None]) -> tuple[Journal, Snapshots]: ...
    def crash(self) -> None: ...
    def forget(self) -> None: ...
    def recover(self, node_id: str, recovery: Recovery) -> Recovered: ...


class Machine:
    """The state: the list of commands."""

    def __init__(self, name: str, invariants: Invariants) -> None:
        self._name = name
        self._invariants = invariants
        self.state: list[str] = []

    def apply(self, data: bytes, index: int) -> None:
        command = data.decode()
        self._invariants.applied(self._name, len(self.state), command)
        self.state.append(command)

    def snapshot(self) -> Callable[[], bytes]:
        state = list(self.state)
        return lambda: "\n".join(state).encode()

    def restore(self, data: bytes, index: int) -> None:
        self.state = data.decode().split("\n") if data else []
        self._invariants.restored(self._name, self.state)


class Member:
    """Scheduler and transport of its core. `crash` and `start` as often as you like."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        network: Network,
        random: Random,
        invariants: Invariants,
        storage: Storage,
        config: RaftConfig,
        bootstrap: Mapping[str, str] | None,
    ) -> None:
        self.name = name
        self.clock = clock
        self.network = network
        self.random = random
        self.invariants = invariants
        self.storage = storage
        self.config = config
        self.bootstrap = bootstrap
        self.crash_probability = 0.0
        self.restart_after = (0.05, 1.5)
        self.crashes = 0
        self.core: RaftCore | None = None
        self.driver: Driver | None = None
        self.machine = Machine(name, invariants)
        self.paused = False
        #: Its host is lost: it does not start until somebody finds it.
        self.lost = False
        self.fence = Fence(self._generation)
        self.local_clock = LocalClock()
        self._disk_failed = False
        self._backlog: list[Callable[[], None]] = []
        self._life = 0
        self._peers: dict[str, str] = {}
        self.colleagues: Mapping[str, Member] = {name: self}
        self.after_tick: list[Callable[[], None]] = []
        network.endpoints[name] = self

    # ------------------------------------------------------------------------ life
    @property
    def alive(self) -> bool:
        return self.core is not None

    def start(self) -> None:
        if self.alive or self.lost:
            return
        self._life += 1
        self.paused = False
        self._disk_failed = False
        self._backlog = []
        self._peers = {}
        self.after_tick = []
        self.machine = Machine(self.name, self.invariants)
        try:
            journal, snapshots = self.storage.open(self._hook)
            self.core = RaftCore(
                self.name,
                self.machine,
                journal,
                snapshots,
                self,
                config=self.config,
                random=self.random,
                clock=self._now,
                background=self._background,
                bootstrap=self.bootstrap,
            )
        except Crash:
            self._die()
            return
        except Exception as error:
            self.fatal(error)
            return
        # As a manager that asks for a place does before it asks; those that have one do not care.
        self.core.acquaintance.join(self.invariants.generation)
        self.driver = Driver(self.core, self, self.fatal)
        self.driver.after_tick = self._ticked
        self.driver.kick()

    def _now(self) -> float:
        return self.clock.shown_by(self.local_clock)

    def crash(self) -> None:
        if self.alive:
            self._die()

    def lose(self) -> None:
        self.lost = True
        self.crash()

    def found(self) -> None:
        self.lost = False
        self.start()

    def recover(self, recovery: Recovery) -> None:
        """`--force-new-cluster`: it goes on alone with what is on its disk, in another generation."""
        self.crash()
        generation, snapshot, log, term = self.storage.recover(self.name, recovery)
        state = [] if snapshot is None or not snapshot.data else snapshot.data.decode().split("\n")
        covered = 0 if snapshot is None else snapshot.meta.index
        state += [
            command[1:].decode()
            for command, index, _ in log
            if index > covered and command[0] == KIND_REGULAR
        ]
        self.invariants = self.invariants.recovered(generation, state, log, term)

    def begin_anew(self, invariants: Invariants | None = None) -> None:
        """It was removed and gives up all that it had, as a demoted manager does; it may join again."""
        self.bootstrap = None
        self.crash()
        self.storage.forget()
        self.invariants = invariants or self.invariants

    def _generation(self) -> Generation | None:
        return None if self.core is None else self.core.acquaintance.generation

    def _die(self) -> None:
        self._life += 1
        self.crashes += 1
        self.core = None
        if self.driver is not None:
            self.driver.stop()
        self.network.isolate(self.name)
        self.storage.crash()
        self.clock.at(self.random.uniform(*self.restart_after), self.start)

    def fatal(self, error: Exception) -> None:
        """Stopping is right when the disk fails, and never otherwise."""
        if not ((self.storage.failing or self._disk_failed) and isinstance(error, OSError)):
            self.invariants.violated("FATAL", f"{self.name}: {error!r} from {error.__cause__!r}")
        self.storage.failing = False
        self._die()

    def _hook(self, operation: str) -> None:
        if self.crash_probability and self.random.random() < self.crash_probability:
            raise Crash(operation)

    def pause(self, seconds: float) -> None:
        """SIGSTOP and SIGCONT."""
        if not self.alive or self.paused:
            return
        self.paused = True
        life = self._life

        def resume() -> None:
            if self._life == life:
                self.paused = False
                backlog, self._backlog = self._backlog, []
                for act in backlog:
                    self.enter(act, life)

        self.clock.at(seconds, resume)

    def enter(self, act: Callable[[], None], life: int | None = None) -> None:
        """Run something in this process, unless it is dead, or later if it is paused."""
        if not self.alive or (life is not None and life != self._life):
            return
        if self.paused:
            self._backlog.append(act)
            return
        try:
            act()
        except Crash:
            self._die()

    # ------------------------------------------------------------------------ scheduler
    def call_soon(self, callback: Callable[[], None]) -> Handle:
        return self.call_later(0.0, callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        life = self._life
        handle = Handle(callback)
        self.clock.at(delay / self.local_clock.rate, lambda: self.enter(handle, life))
        return handle

    def _background(
        self, job: Callable[[], SnapshotMeta], done: Callable[[SnapshotMeta | BaseException], None]
    ) -> None:
        def work() -> None:
            try:
                result: SnapshotMeta | BaseException = job()
            except OSError as error:
                result = error  # heard of later, perhaps when the disk is whole again
                self._disk_failed |= self.storage.failing
            self.call_later(self.random.uniform(0.001, 0.1), lambda: self._run(lambda: done(result)))

        self.call_later(self.random.uniform(0.001, 0.05), work)

    def _run(self, act: Callable[[], None]) -> None:
        if self.driver is not None:
            self.driver.run(act)

    def _ticked(self) -> None:
        self.invariants.after_tick(self, self.colleagues)
        for look in list(self.after_tick):
            look()

    # ------------------------------------------------------------------------ transport
    def add_peer(self, node_id: str, address: str) -> None:
        self._peers[node_id] = address

    def drop_peer(self, node_id: str) -> None:
        self._peers.pop(node_id, None)

    def send(self, node_id: str, message: Message) -> bool:
        if isinstance(message, VoteReply):
            self.invariants.voted(self.name, message.term, node_id)
        elif isinstance(message, RequestVote):
            self.invariants.voted(self.name, message.term, self.name)
        return self.network.send(self.name, node_id, message)

    def set_fence(self, fence: Fence) -> None:
        raise AssertionError("the network asks the member")

    def on_message(self, callback: Callable[[str, Message], None]) -> None:
        raise AssertionError("the driver is called directly")

    def on_connection(self, callback: Callable[[str, bool], None]) -> None:
        raise AssertionError("the driver is called directly")

    def dials(self, other: str) -> bool:
        return other in self._peers

    def deliver(self, sender: str, message: Message, still_up: Callable[[], bool]) -> None:
        def receive() -> None:
            if self.driver is not None and still_up():
                self.driver.receive(sender, message)

        self.enter(receive, self._life)

    def link_changed(self, other: str, up: bool) -> None:
        if self.driver is not None:
            self.driver.kick()

    # ------------------------------------------------------------------------ clients
    @property
    def leads(self) -> bool:
        return self.core is not None and self.core.library.leading

    def campaign(self) -> None:
        """As if the leader had told it to: raft must be safe whoever campaigns when."""

        def start(core: RaftCore) -> None:
            if not core.library.leading:
                core.votes.force()

        self.ask(start)

    def ask(self, start: Callable[[RaftCore], None]) -> None:
        """A client's request in this process; a refusal is an answer."""

        def act() -> None:
            core = self.core
            if core is None:
                return
            try:
                self._run(lambda: start(core))
            except SwarmError:
                self.refused += 1

        self.enter(act)

    refused = 0
