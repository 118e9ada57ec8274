"""The swarm as a whole: its settings, its root of trust, its join tokens."""

from __future__ import annotations

from datetime import datetime

from msgspec import field
from msgspec.structs import replace

from swarmcore.model.base import Driver, Nanoseconds, Object, Part, Spec, Uint, secretless, shown
from swarmcore.model.generation import FIRST, Generation
from swarmcore.model.node import TLSInfo

DATA_PATH_PORT = 4789  # of VXLAN (RFC 7348)
CLUSTER_NAME = "default"  # there is one swarm a store, and Docker calls it so
#: A label of the swarm: how many replicas one service may have. Docker's spec has no field for it, and its command
#: keeps labels that it does not know.
MAX_REPLICAS_LABEL = "pyswarm.max-replicas"
DEFAULT_MAX_REPLICAS = 100_000
MOST_MAX_REPLICAS = 1_000_000  # what the label may say: every manager holds every task in its memory


class Orchestration(Part, frozen=True, kw_only=True):
    task_history_retention_limit: int | None = None


class RaftConfig(Part, frozen=True, kw_only=True):
    snapshot_interval: Uint = 0
    keep_old_snapshots: Uint | None = None
    log_entries_for_slow_followers: Uint = 0
    election_tick: int = shown(0)
    heartbeat_tick: int = shown(0)


class DispatcherConfig(Part, frozen=True, kw_only=True):
    heartbeat_period: Nanoseconds = 0


class ExternalCA(Part, frozen=True, kw_only=True):
    protocol: str = shown("cfssl")
    url: str = shown("", name="URL")
    options: dict[str, str] = field(default_factory=dict)
    ca_cert: str = shown("", name="CACert")


class CAConfig(Part, frozen=True, kw_only=True):
    """SigningCACert and SigningCAKey are PEM; a change of ForceRotate starts a root rotation."""

    node_cert_expiry: Nanoseconds = 0
    external_cas: tuple[ExternalCA, ...] = field(default=(), name="ExternalCAs")
    signing_ca_cert: str = field(default="", name="SigningCACert")
    signing_ca_key: str = field(default="", name="SigningCAKey")
    force_rotate: Uint = 0

    def __repr__(self) -> str:
        return secretless(self, "signing_ca_key")


class TaskDefaults(Part, frozen=True, kw_only=True):
    log_driver: Driver | None = None


class EncryptionConfig(Part, frozen=True, kw_only=True):
    auto_lock_managers: bool = shown(False)


class SwarmSpec(Spec, frozen=True, kw_only=True):
    """0 and None mean "not said": `merged` puts the current or default value there."""

    orchestration: Orchestration = shown(Orchestration())
    raft: RaftConfig = shown(RaftConfig())
    dispatcher: DispatcherConfig = shown(DispatcherConfig())
    ca_config: CAConfig = shown(CAConfig(), name="CAConfig")
    task_defaults: TaskDefaults = shown(TaskDefaults())
    encryption_config: EncryptionConfig = shown(EncryptionConfig())


DEFAULT_SWARM_SPEC = SwarmSpec(
    name=CLUSTER_NAME,
    orchestration=Orchestration(task_history_retention_limit=5),
    raft=RaftConfig(
        snapshot_interval=10_000,
        keep_old_snapshots=0,
        log_entries_for_slow_followers=500,
        election_tick=10,
        heartbeat_tick=1,
    ),
    dispatcher=DispatcherConfig(heartbeat_period=1_000_000_000),
    ca_config=CAConfig(node_cert_expiry=90 * 24 * 3600 * 1_000_000_000),
)


def merged(current: SwarmSpec, wanted: SwarmSpec) -> SwarmSpec:
    """`wanted`, with what it does not say taken from `current`, as Docker's swarm init and update do."""
    raft, base = wanted.raft, current.raft
    limit = wanted.orchestration.task_history_retention_limit
    keep = raft.keep_old_snapshots
    return replace(
        wanted,
        name=wanted.name or current.name,
        orchestration=wanted.orchestration if limit is not None else current.orchestration,
        raft=RaftConfig(
            snapshot_interval=raft.snapshot_interval or base.snapshot_interval,
            keep_old_snapshots=keep if keep is not None else base.keep_old_snapshots,
            log_entries_for_slow_followers=raft.log_entries_for_slow_followers
            or base.log_entries_for_slow_followers,
            election_tick=raft.election_tick or base.election_tick,
            heartbeat_tick=raft.heartbeat_tick or base.heartbeat_tick,
        ),
        dispatcher=wanted.dispatcher if wanted.dispatcher.heartbeat_period else current.dispatcher,
        ca_config=replace(
            wanted.ca_config,
            node_cert_expiry=wanted.ca_config.node_cert_expiry or current.ca_config.node_cert_expiry,
        ),
    )


def max_replicas(spec: SwarmSpec) -> int:
    """How many replicas one service of the swarm may have."""
    text = spec.labels.get(MAX_REPLICAS_LABEL, "")
    if text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_MAX_REPLICAS)):
        return min(max(int(text), 1), MOST_MAX_REPLICAS)
    return DEFAULT_MAX_REPLICAS


class JoinTokens(Part, frozen=True, kw_only=True):
    worker: str = shown("")
    manager: str = shown("")

    def __repr__(self) -> str:
        return secretless(self, "worker", "manager")


class RootCA(Part, frozen=True, kw_only=True):
    """PEM of the root's certificate and key; `cert_hash` is the digest that join tokens carry."""

    ca_cert: bytes = field(default=b"", name="CACert")
    ca_key: bytes = field(default=b"", name="CAKey")
    cert_hash: str = ""
    join_tokens: JoinTokens = shown(JoinTokens())

    def __repr__(self) -> str:
        return secretless(self, "ca_key")


class EncryptionKey(Part, frozen=True, kw_only=True):
    """One key with the subsystem it is for (`raft.unlock`, `networking:gossip`, …)."""

    subsystem: str = ""
    key: bytes = b""
    lamport_time: Uint = 0
    created_at: datetime | None = None

    def __repr__(self) -> str:
        return secretless(self, "key")


#: The subsystem of the keys for encrypted overlays.
OVERLAY_KEYS = "networking:ipsec"


class Cluster(Object, frozen=True, kw_only=True):
    """`blacklisted_certificates` maps removed nodes to when their certificate ends and the entry may go.

    `generation` is the last recovery that this state knows of, `left_behind` the managers that were removed by one.
    """

    spec: SwarmSpec = shown(DEFAULT_SWARM_SPEC)
    root_ca: RootCA = shown(RootCA(), name="RootCA")
    blacklisted_certificates: dict[str, datetime] = field(default_factory=dict)
    unlock_keys: tuple[EncryptionKey, ...] = ()
    network_keys: tuple[EncryptionKey, ...] = ()
    tls_info: TLSInfo = shown(TLSInfo(), name="TLSInfo")
    default_addr_pool: tuple[str, ...] = ()
    subnet_size: int = 0
    data_path_port: int = 0
    root_rotation_in_progress: bool = shown(False)
    generation: Generation = FIRST
    left_behind: tuple[str, ...] = ()

    @property
    def overlay_port(self) -> int:
        """The UDP port of its hosts that overlay traffic goes to."""
        return self.data_path_port or DATA_PATH_PORT


def overlay_keys(cluster: Cluster) -> tuple[EncryptionKey, ...]:
    """The keys of encrypted overlays, oldest first."""
    keys = (key for key in cluster.network_keys if key.subsystem == OVERLAY_KEYS)
    return tuple(sorted(keys, key=lambda key: key.lamport_time))
