"""Opens raft for a running manager: what is on disk, verified, and the transport, in one RaftNode that closes all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random

from manager.raft.config import RaftConfig
from manager.raft.disk import RealDisk
from manager.raft.interfaces import CorruptState
from manager.raft.node import AskLeader, RaftNode
from manager.raft.proposer import StateMachine
from manager.raft.recovery import Recovery, force_new_cluster
from manager.raft.snapshots import SnapshotStore
from manager.raft.storage import Wal, forget
from manager.raft.transport import RaftTransport
from pki.seal import DataKeys
from swarmcore.clock import AgreedClock, monotonic
from swarmcore.errors import FailedPrecondition
from swarmcore.process.faults import Faults
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.server import RpcServer

log = logging.getLogger(__name__)
Close = Callable[[], Awaitable[None]]


async def open_raft(
    directory: Path,
    keys: DataKeys,
    node_id: str,
    machine: StateMachine,
    *,
    server: RpcServer,
    client: RpcClient,
    ask_leader: AskLeader,
    on_fatal: Callable[[Exception], None],
    clock: AgreedClock,
    config: RaftConfig | None = None,
    bootstrap: Mapping[str, str] | None = None,
    recovery: Recovery | None = None,
    cluster: str = "",
    on_superseded: Callable[[str], None] = lambda reason: None,
    faults: Faults | None = None,
) -> RaftNode:
    """`bootstrap` (node id to address) founds a swarm; `recovery` makes a lone survivor its only member. Raises
    FailedPrecondition where the directory is in use, unreadable or not what was written."""
    disk, journal, snapshots = await asyncio.to_thread(_open, directory, keys)
    chance = Random()
    links = partial(RaftTransport, node_id, server, client, chance, cluster=cluster, clock=clock)
    transport = links(on_superseded=on_superseded, faults=faults)
    async with _closed_if_refused(directory, partial(_close, transport, journal, snapshots, disk)) as close:
        if recovery is not None:
            generation = force_new_cluster(node_id, recovery, journal, snapshots)
            log.warning("the swarm is recovered", extra={"node": node_id, "generation": generation.id})
        return RaftNode(
            node_id,
            machine,
            journal,
            snapshots,
            transport,
            ask_leader=ask_leader,
            on_fatal=on_fatal,
            clock=monotonic,
            random=chance,
            config=config,
            bootstrap=bootstrap,
            on_close=close,
        )


async def _close(transport: RaftTransport, journal: Wal, snapshots: SnapshotStore, disk: RealDisk) -> None:
    await transport.close()
    journal.close()
    snapshots.close()
    disk.close()


@asynccontextmanager
async def _closed_if_refused(directory: Path, close: Close) -> AsyncIterator[Close]:
    try:
        yield close
    except (CorruptState, OSError) as error:
        await close()
        raise _refusal(directory, error) from error
    except BaseException:
        await close()
        raise


def _open(directory: Path, keys: DataKeys) -> tuple[RealDisk, Wal, SnapshotStore]:
    try:
        disk = RealDisk(directory)
    except BlockingIOError:
        raise FailedPrecondition(
            f"another daemon uses {directory}", "stop it, or choose another --state-dir"
        ) from None
    except OSError as error:
        raise _refusal(directory, error) from error
    try:
        return disk, Wal(disk, keys), SnapshotStore(disk, keys)
    except (CorruptState, OSError) as error:
        disk.close()
        raise _refusal(directory, error) from error


def _refusal(directory: Path, error: Exception) -> FailedPrecondition:
    if isinstance(error, OSError):
        return FailedPrecondition(f"cannot use raft's directory {directory}: {error.strerror or error}")
    return FailedPrecondition(
        str(error),
        f'restore {directory} from a backup, or run "pyswarm leave --force" and join as a new manager',
    )


def forget_raft(directory: Path, keys: DataKeys) -> None:
    """This node is no manager any more: its copy of the swarm's state goes, what it promised in elections stays."""
    disk = RealDisk(directory)
    try:
        forget(disk, keys)
    except CorruptState as error:  # then it could not have voted again either
        log.warning("raft's damaged state is removed whole", extra={"error": str(error)})
        for name in disk.listdir():
            disk.unlink(name)
    finally:
        disk.close()
