"""One container from create to removal: phases on disk, its supervisor watched, its end known to all who wait."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from random import Random

import msgspec
from msgspec.structs import replace

from netoverlay.containers.sandboxes import SandboxSpec
from swarmcore.aio import Backoff, in_thread, supervise
from swarmcore.errors import SwarmError
from swarmcore.files import write_atomically
from worker.containers import record
from worker.containers.engine import Engine
from worker.containers.phases import Adoption, Phase, Step, adoption, next_phase
from worker.containers.record import ContainerRecord
from worker.runtime import conmon
from worker.runtime.bundle import with_network_path
from worker.runtime.conmon import Exit, Supervision
from worker.runtime.crun import OciRuntime, RuntimeFailed, exit_code_of, refuses_host
from worker.runtime.processes import is_alive, send
from worker.runtime.spawner_client import MountRequest, SpawnerGone

log = logging.getLogger(__name__)
_KILL = 9


class StartFailed(Exception):
    """The container could not be started, and has ended by that; `code` is Docker's for the reason."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Container:
    def __init__(self, engine: Engine, known: ContainerRecord) -> None:
        self._engine = engine
        self.record = known
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._secret_mounts: tuple[MountRequest, ...] = ()
        self._changing = asyncio.Lock()
        self._cleared = False  # the runtime and the cgroups know nothing of it any more
        engine.images.hold(known.image_id, known.id)

    # -- paths ---------------------------------------------------------------------------------------
    @property
    def directory(self) -> Path:
        return self._engine.places.of(self.record.id)

    @property
    def log_file(self) -> Path:
        return self.directory / "log"

    @property
    def _supervision(self) -> Supervision:
        held = self.record
        return self._engine.supervision(held.id, terminal=held.terminal, silent=held.silent)

    def _after(self, step: Step) -> Phase:
        phase = next_phase(self.record.phase, step)
        assert phase is not None, f"no {step.name} of a container that is {self.record.phase}"
        return phase

    def _announce(self, step: Step, **changes: object) -> None:
        """On disk first: where that fails nothing has changed."""
        changed = replace(self.record, phase=self._after(step), **changes)
        record.save(self.directory, changed)
        self.record = changed

    def _note(self, **changes: object) -> None:
        """What has happened whether or not the disk takes it; a restarted daemon knows less then, but enough."""
        self.record = replace(self.record, **changes)
        try:
            record.save(self.directory, self.record)
        except OSError as error:
            log.warning("a container's record is not on disk", extra={**self._fields, "err": str(error)})

    @property
    def running(self) -> bool:
        return self.record.phase is Phase.RUNNING and not self.ended.done()

    @property
    def name(self) -> str:
        """What people call the container; one of an early daemon has its owner's label."""
        return self.record.name or self.record.owner

    def sandbox_is(self, sandbox: SandboxSpec) -> None:
        """It was connected to a network, or disconnected."""
        self._note(sandbox=sandbox)

    # -- life ----------------------------------------------------------------------------------------
    def give_secrets(self, mounts: tuple[MountRequest, ...]) -> None:
        """Kept in memory only: the record on disk must not hold them."""
        self._secret_mounts = mounts

    async def adopt(self) -> None:
        """After the daemon's restart: watch what runs, take note of what has ended, undo what is half made."""
        match adoption(self.record.phase):
            case Adoption.WATCH:
                self._watch()
            case Adoption.START_OVER:
                log.warning("container creation was broken off, starting it over", extra=self._fields)
                await self._undo_create()
                self._announce(Step.UNDO)
            case Adoption.TELL:
                assert self.record.exit is not None
                self.ended.set_result(self.record.exit)

    @property
    def _fields(self) -> dict[str, str]:
        return {"container": self.record.id[:12], "owner": self.record.owner}

    async def start(self) -> None:
        """Create and start it; StartFailed if that is not possible. Nothing if it was started before."""
        async with self._changing:
            if self.record.phase is not Phase.PREPARED:
                return
            async with self._engine.starts:
                try:
                    await self._start_with_any()
                except (RuntimeFailed, OSError) as failure:
                    await self._undo_create()
                    code = exit_code_of(str(failure))
                    message = f"cannot start the container: {failure}"
                    await self._end(Exit(code=code, at=self._engine.clock.now(), reason=message))
                    raise StartFailed(code, message) from None

    async def _start_with_any(self) -> None:
        runtimes = list(self._engine.runtimes.values())
        for position, runtime in enumerate(runtimes):
            self._announce(Step.CREATE, runtime=runtime.name)
            try:
                try:
                    await self._start_with(runtime)
                except SpawnerGone:
                    log.warning("spawner died during a start, trying again", extra=self._fields)
                    await self._undo_create()
                    await self._start_with(runtime)
            except RuntimeFailed as failure:
                last = position == len(runtimes) - 1
                if last or not refuses_host(str(failure)):
                    raise
                log.warning(
                    "runtime refuses, trying the next",
                    extra={**self._fields, "runtime": runtime.name, "err": str(failure)},
                )
                await self._undo_create()
            else:
                return

    async def _start_with(self, runtime: OciRuntime) -> None:
        engine = self._engine
        # Again, because the mounts live in the spawner's namespace and it may be a new one.
        await engine.spawner.mount((*self.record.mounts, *self._secret_mounts))
        await self._enter_network()
        self._supervision.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        container, supervisor = await conmon.create(self._supervision, engine.conmon, runtime, engine.spawner)
        await runtime.start(self.record.id)
        self._announce(Step.RUN, container=container, supervisor=supervisor, started=engine.clock.now())
        self._watch()

    async def _enter_network(self) -> None:
        """The bundle may name the namespace by a descriptor of a daemon that is gone."""
        if self.record.sandbox is None:
            return
        path = await self._engine.networking.path(self.record.sandbox)
        await in_thread(self._rewrite_bundle, path)

    def _rewrite_bundle(self, path: str) -> None:
        file = self.directory / "bundle" / "config.json"
        before = msgspec.json.decode(file.read_bytes())
        after = with_network_path(before, path)
        if after != before:
            write_atomically(file, msgspec.json.encode(after), durable=False)

    def _watch(self) -> None:
        engine = self._engine
        watch = supervise(self._await_end, "container watch", engine.clock, Backoff(Random()), engine.faults)
        engine.tasks.start(watch, f"container {self.record.id[:12]}")

    async def _await_end(self) -> None:
        known = self.record
        assert known.supervisor is not None
        assert known.container is not None
        found = await conmon.exit_of(
            self._supervision, known.supervisor, known.container, self._engine.cgroups
        )
        if not self.directory.exists():
            return
        await self._end(found)
        async with self._changing:
            if not self._cleared:
                await self._undo_create()

    async def _end(self, found: Exit) -> None:
        """Whoever hears of it finds what the container held free: its ports and addresses are asked for at once."""
        await self._let_go()
        self._note(phase=self._after(Step.END), exit=found)
        if not self.ended.done():
            self.ended.set_result(found)
        log.debug("container ended", extra={**self._fields, "code": found.code, "oom": found.oom})

    async def _let_go(self) -> None:
        """Of what others may have now. Its output, its layer and its anonymous volumes stay until it is removed."""
        engine = self._engine
        engine.volumes.release(self.record.id, keep=self.record.anonymous_volumes)
        if self.record.sandbox is None:
            return
        try:
            await engine.networking.release(self.record.sandbox)
        except (SwarmError, OSError) as error:
            # Its end is no less true; the removal tries again.
            log.warning(
                "the network of an ended container is not given back yet",
                extra={**self._fields, "err": str(error)},
            )

    def signal(self, number: int) -> bool:
        """Send a signal to the container's first process; False if it does not run."""
        return self.running and self.record.container is not None and send(self.record.container, number)

    async def drain(self, seconds: float) -> None:
        """Let connections that live end, for at most that long; the container must run."""
        if self.record.sandbox is not None:
            await self._engine.networking.drain(self.record.sandbox, seconds)

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Ask it to stop, kill it after the grace period (None: the plan's); returns when it has ended."""
        async with self._changing:  # a start under way comes to its end first
            if self.record.phase is Phase.PREPARED:
                reason = "stopped before it was started"
                await self._end(Exit(code=0, at=self._engine.clock.now(), reason=reason))
            if not self.running:
                return
        grace = self.record.grace_ns / 1e9 if grace_seconds is None else grace_seconds
        if grace > 0 and self.signal(self.record.stop_signal):
            await asyncio.wait({self.ended}, timeout=grace)
        if not self.ended.done():
            self.signal(_KILL)
            await asyncio.wait({self.ended})

    async def remove(self) -> None:
        """Leave nothing of it, whatever phase it is in. May be repeated after a failure."""
        await self.stop(0)
        async with self._changing:
            if not self._cleared:
                await self._undo_create()
            engine = self._engine
            targets = [mount.target for mount in (*self.record.mounts, *self._secret_mounts)]
            await engine.spawner.unmount(targets)
            if self.record.sandbox is not None:
                await engine.networking.release(self.record.sandbox)
            await in_thread(self._remove_files)
            engine.images.release(self.record.id)
            if not self.ended.done():
                self.ended.set_result(Exit(code=conmon.LOST, at=engine.clock.now(), reason="removed"))

    async def _undo_create(self) -> None:
        """The runtime forgets it, its limits go, and nothing of it runs."""
        engine = self._engine
        if self.record.phase is Phase.CREATING:
            conmon.kill_unfinished(self._supervision)
        if (runtime := engine.runtimes.get(self.record.runtime)) is not None:
            try:
                await runtime.delete(self.record.id)
            except RuntimeFailed as failure:
                log.warning("runtime delete failed", extra={**self._fields, "err": str(failure)})
        await in_thread(engine.cgroups.destroy, self.record.id)
        self._cleared = self.record.phase is Phase.EXITED

    def _remove_files(self) -> None:
        engine = self._engine
        engine.volumes.release(self.record.id)
        for name in self.record.anonymous_volumes:
            engine.volumes.remove(name)
        engine.places.forget(self.record.id)

    @property
    def pid(self) -> int:
        """Of the container's first process, 0 if it does not run."""
        known = self.record.container
        return known.pid if known is not None and self.running and is_alive(known) else 0
