"""What an agent and the dispatcher say to each other on one stream per node.

The agent opens with `OpenSession`. A manager that does not lead answers `Redirect` and ends. The leader
answers `SessionInfo`, then one full `Assignments`, then only changes, each numbered: a message applies to
exactly the state that the previous one left, and an agent that sees a gap opens a new session. Every
message of the agent that wants certainty (`StatusReports`) carries a number that `Acknowledged` repeats.
The stream itself is the session's fence: a newer session of the same node ends the older stream, and
nothing that still arrives on an ended stream counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from swarmcore.model.cluster import EncryptionKey
from swarmcore.model.node import Node, NodeDescription
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import Task, TaskStatus
from swarmcore.rpc.messages.check import EndCheck, PreparePeer, ProbePeers
from swarmcore.rpc.messages.logs import SubscribeLogs, UnsubscribeLogs
from swarmcore.rpc.messages.networks import NetworksApplied, NetworkUpdate

#: Bytes of one message from an agent. It is read and checked while the leader's loop waits.
MAX_FROM_AGENT = 4 << 20


class ManagerAddress(Struct, frozen=True, kw_only=True):
    """Where a manager listens for other nodes (host:port)."""

    node_id: str
    address: str


class OpenSession(Struct, frozen=True, kw_only=True, tag="open-session"):
    """The first message of the agent's stream."""

    description: NodeDescription


class Heartbeat(Struct, frozen=True, kw_only=True, tag="heartbeat"):
    """Both directions: the dispatcher returns it, so that the agent notices a dead leader too.

    `time` is the dispatcher's, in seconds since 1970, as the managers agree on it; 0: not said.
    """

    time: float = 0.0


class StatusReport(Struct, frozen=True, kw_only=True, gc=False):
    task_id: str
    status: TaskStatus


class StatusReports(Struct, frozen=True, kw_only=True, tag="status-reports"):
    """The newest observed state of some tasks; repeated until `Acknowledged(number)`."""

    number: int
    reports: tuple[StatusReport, ...]


class DescriptionUpdate(Struct, frozen=True, kw_only=True, tag="description-update"):
    """The node's hardware, labels or certificate issuer changed during the session."""

    description: NodeDescription


class Redirect(Struct, frozen=True, kw_only=True, tag="redirect"):
    """This manager does not lead; `leader` is None while nobody is known to."""

    leader: ManagerAddress | None = None


class SessionInfo(Struct, frozen=True, kw_only=True, tag="session-info"):
    """First answer of the leader, sent again whenever any of it changes.

    `heartbeat_period` is in nanoseconds, as in the swarm's spec. `root_ca` is the PEM bundle to trust.
    `network_keys` are those of encrypted overlays, oldest first.
    """

    session_id: str
    node: Node
    managers: tuple[ManagerAddress, ...]
    heartbeat_period: int
    root_ca: bytes = b""
    network_keys: tuple[EncryptionKey, ...] = ()


class Assignments(Struct, frozen=True, kw_only=True, tag="assignments"):
    """The node's share of the desired state: everything (`full`) or what changed since `applies_to`.

    What is too large for one message comes in parts: all but the last say `more`, and they count as one.
    """

    applies_to: int
    results_in: int
    full: bool = False
    more: bool = False
    tasks: tuple[Task, ...] = ()
    secrets: tuple[Secret, ...] = ()
    configs: tuple[Config, ...] = ()
    removed_tasks: tuple[str, ...] = ()
    removed_secrets: tuple[str, ...] = ()
    removed_configs: tuple[str, ...] = ()


class Acknowledged(Struct, frozen=True, kw_only=True, tag="acknowledged"):
    """All reports of `StatusReports(number)` are committed, or will never be accepted."""

    number: int


class SessionEnd(Struct, frozen=True, kw_only=True, tag="session-end"):
    """Why the dispatcher ends the stream. `forbidden`: this node does not belong to the swarm any more."""

    reason: str
    forbidden: bool = False


ToAgent = (
    Redirect
    | SessionInfo
    | Assignments
    | NetworkUpdate
    | Acknowledged
    | Heartbeat
    | SubscribeLogs
    | UnsubscribeLogs
    | PreparePeer
    | ProbePeers
    | EndCheck
    | SessionEnd
)
ToDispatcher = Heartbeat | StatusReports | DescriptionUpdate | NetworksApplied


def dependencies_of(task: Task) -> tuple[frozenset[str], frozenset[str]]:
    """Ids of the secrets and of the configs that the task needs: both ends must agree on them."""
    spec = task.spec.container_spec
    if spec is None:
        return frozenset(), frozenset()
    secrets = frozenset(reference.secret_id for reference in spec.secrets)
    configs = {reference.config_id for reference in spec.configs}
    credential = spec.privileges.credential_spec if spec.privileges is not None else None
    if credential is not None and credential.config:
        configs.add(credential.config)
    return secrets, frozenset(configs)


def joined(parts: Sequence[Assignments]) -> Assignments:
    """The parts of one assignment as the one message that they stand for."""
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return first
    return replace(
        first,
        results_in=last.results_in,
        more=False,
        tasks=tuple(task for part in parts for task in part.tasks),
        secrets=tuple(secret for part in parts for secret in part.secrets),
        configs=tuple(config for part in parts for config in part.configs),
        removed_tasks=last.removed_tasks,
        removed_secrets=last.removed_secrets,
        removed_configs=last.removed_configs,
    )
