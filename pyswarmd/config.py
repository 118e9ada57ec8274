"""Where a daemon keeps its things, and the settings it starts with."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

STATE_DIR = Path("/var/lib/pyswarm")
RUN_DIR = Path("/run/pyswarm")
PORT = 2377
SOCKET_NAME = "pyswarm.sock"
VERSION = "0.1.0"
# What clients compare when they ask for the engine's version: a current one, marked as ours (semantic versioning's
# build metadata, which comparisons leave out). Behaviour follows API_VERSION, as with Docker's engine.
ENGINE_VERSION = f"28.0.0+pyswarm{VERSION}"
API_VERSION = "1.41"
MIN_API_VERSION = "1.12"


class Settings(Struct, frozen=True, kw_only=True):
    """What `pyswarm daemon` is told on its command line.

    `cgroup_parent` is the cgroup (below each hierarchy's root) that holds this daemon's containers;
    `hostname` replaces the machine's own name (the lab runs several hosts on one machine).
    """

    state_dir: Path = STATE_DIR
    run_dir: Path = RUN_DIR
    cgroup_parent: str = "pyswarm"
    hostname: str = ""
    labels: dict[str, str] = {}

    @property
    def socket(self) -> Path:
        return self.run_dir / SOCKET_NAME

    @property
    def certificates(self) -> Path:
        return self.state_dir / "certificates"

    @property
    def raft_dir(self) -> Path:
        return self.state_dir / "raft"

    @property
    def worker_db(self) -> Path:
        return self.state_dir / "worker.db"

    @property
    def local_state(self) -> Path:
        """Addresses this node advertises and listens on, and the managers it last knew (JSON)."""
        return self.state_dir / "node.json"
