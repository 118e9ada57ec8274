"""The daemon's composition root: one process per host, everything made here and ended here."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import platform
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from aiohttp import web

from pyswarmd.config import VERSION, Settings
from pyswarmd.engine.app import build_app
from pyswarmd.node.networks import NodeNetworks
from pyswarmd.node.node import Node
from swarmcore.aio import in_thread, on_loop_error
from swarmcore.clock import RealClock
from swarmcore.errors import FailedPrecondition
from swarmcore.files import remove_tree
from swarmcore.process.faults import Faults
from swarmcore.process.memory import calm_collector
from worker.containers.engine import engine_of_host
from worker.containers.registry import ContainerRegistry
from worker.images.store import ImageStore
from worker.runtime.descriptors import Limit, raise_limit
from worker.runtime.tools import Tools, preflight
from worker.tasks.executor import ContainerExecutor

log = logging.getLogger(__name__)
# A client that connects while this queue is full gets EAGAIN, which asyncio's clients take for "connected".
BACKLOG = 4096
_SHUTDOWN = 1.0  # seconds that open API requests get to end


async def run_daemon(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Containers go on when it ends, however it ends."""
    if os.geteuid() != 0:
        raise FailedPrecondition("the daemon needs root: it makes containers", "run it as root")
    limit = raise_limit()
    tools = preflight()
    for folder in (settings.state_dir, settings.run_dir):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _only_one(settings.run_dir):
        await _serve(settings, tools, limit)


@contextlib.contextmanager
def _only_one(run_dir: Path) -> Iterator[None]:
    """Hold `daemon.pid` locked: the lock ends with the process, whatever kills it."""
    path = run_dir / "daemon.pid"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FailedPrecondition(
                f"a daemon (pid {file.read().strip()}) already uses {run_dir}",
                "stop it, or give this one a --run-dir and a --state-dir of its own",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


async def _serve(settings: Settings, tools: Tools, limit: Limit) -> None:
    clock = RealClock()
    images = ImageStore(settings.state_dir / "images")
    await images.open()
    # Earlier versions left files there when killed.
    await in_thread(remove_tree, settings.state_dir / "upload")
    faults = Faults()
    networks = NodeNetworks(settings, clock, faults)
    engine = engine_of_host(
        state_dir=settings.state_dir,
        run_dir=settings.run_dir,
        images=images,
        tools=tools,
        cgroup_parent=settings.cgroup_parent,
        hostname=settings.hostname or platform.node(),
        clock=clock,
        networking=networks.swarm,
        limit=limit,
        faults=faults,
    )
    containers = ContainerRegistry(engine)
    executor = ContainerExecutor(containers)
    networks.swarm.on_change = containers.sandbox_is
    await networks.open()
    await containers.open()
    networks.start()
    node = Node(settings, images, containers, executor, clock, networks, faults)
    stop = _end_by_signal()
    try:
        await node.start()
        calm_collector()
        async with _api(node, settings.socket):
            log.info("daemon ready", extra={"version": VERSION, "socket": str(settings.socket)})
            await stop.wait()
            log.info("daemon stops; containers go on")
    finally:
        await node.close()
        await executor.close()
        await containers.close()
        await networks.close()


def _end_by_signal() -> asyncio.Event:
    """Set by SIGTERM or SIGINT. From here on, what fails outside of any task is a line in the log."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.set_exception_handler(on_loop_error)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


@contextlib.asynccontextmanager
async def _api(node: Node, socket: Path) -> AsyncIterator[None]:
    """The Engine API on its unix socket, readable by root only."""
    runner = web.AppRunner(
        build_app(node), access_log=None, shutdown_timeout=_SHUTDOWN, handler_cancellation=True
    )
    await runner.setup()
    socket.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        await web.UnixSite(runner, str(socket), backlog=BACKLOG).start()
    finally:
        os.umask(before)
    try:
        yield
    finally:
        await runner.cleanup()
        socket.unlink(missing_ok=True)
