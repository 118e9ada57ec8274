"""What a node is told when it enters a swarm, and what it keeps on disk about it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import msgspec
from msgspec import Struct

from pyswarmd.config import Settings
from swarmcore.errors import FailedPrecondition, Unavailable
from swarmcore.files import remove_durably, write_atomically
from swarmcore.model.cluster import SwarmSpec
from swarmcore.model.node import Availability
from swarmcore.rpc.messages.session import ManagerAddress


class InitOptions(Struct, frozen=True, kw_only=True):
    """POST /swarm/init, as the node takes it; addresses as the user typed them."""

    listen: str = ""
    advertise: str = ""
    data_path: str = ""
    availability: Availability = Availability.ACTIVE
    spec: SwarmSpec = SwarmSpec()
    default_addr_pool: tuple[str, ...] = ()
    subnet_size: int = 0
    data_path_port: int = 0
    force_new_cluster: bool = False


class JoinOptions(Struct, frozen=True, kw_only=True):
    """POST /swarm/join, as the node takes it."""

    listen: str = ""
    advertise: str = ""
    data_path: str = ""
    availability: Availability = Availability.ACTIVE
    remotes: tuple[str, ...] = ()
    token: str = ""

    def __repr__(self) -> str:
        return f"JoinOptions(remotes={self.remotes!r}, ...)"  # the token must not reach a log


class LocalState(Struct, frozen=True, kw_only=True):
    """`node.json`: where this node listens, what it tells others, and the managers it knew last.

    `data_path` is the address for overlay traffic, empty where the one that sessions come from shall do.
    """

    listen: str
    advertise: str
    data_path: str = ""
    managers: tuple[ManagerAddress, ...] = ()

    def save(self, path: Path) -> None:
        write_atomically(path, msgspec.json.encode(self), durable=True)

    @staticmethod
    def load(path: Path) -> LocalState:
        try:
            return msgspec.json.decode(path.read_bytes(), type=LocalState)
        except FileNotFoundError:
            raise FailedPrecondition(
                f"{path} is missing though this node has a certificate",
                'run "pyswarm leave --force" and join again',
            ) from None
        except msgspec.DecodeError as error:
            raise FailedPrecondition(
                f"{path} is damaged: {error}", 'restore it, or run "pyswarm leave --force" and join again'
            ) from None

    @staticmethod
    def forget(path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            remove_durably(path)


class Status(Struct, frozen=True, kw_only=True):
    """This node's standing, for /info."""

    node_id: str = ""
    address: str = ""
    state: str = "inactive"
    control_available: bool = False
    error: str = ""
    managers: tuple[ManagerAddress, ...] = ()


def check_leave(managers: int, force: bool) -> None:
    """Unavailable unless a manager may leave: raft has so many."""
    if force:
        return
    if managers <= 1:
        raise Unavailable(
            "You are attempting to leave the swarm on the last manager: all state of the swarm would be erased.",
            'use "--force" to leave anyway',
        )
    raise Unavailable(
        "You are attempting to leave the swarm on a node that is participating as a manager.",
        'demote it first ("pyswarm node demote self"), or use "--force"',
    )


def forget(settings: Settings) -> None:
    """Remove every trace of membership from the disk."""
    for folder in (settings.certificates, settings.raft_dir):
        shutil.rmtree(folder, ignore_errors=True)
    LocalState.forget(settings.local_state)
    worker_db = settings.worker_db
    for path in worker_db.parent.glob(f"{worker_db.name}*"):  # with those that were damaged and set aside
        path.unlink(missing_ok=True)
