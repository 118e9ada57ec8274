"""Objects of the store as the Engine API shows them: state names, no secrets, none of our own fields."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from manager.raft.proposer import RaftStatus
from manager.store.tables import Reader
from pyswarmd.engine.shown.kept import Kept
from swarmcore.model.base import Annotations
from swarmcore.model.cluster import Cluster
from swarmcore.model.container import DEFAULT_STOP_GRACE_PERIOD
from swarmcore.model.network import Network, NetworkAttachment
from swarmcore.model.node import Node, NodeState
from swarmcore.model.policy import DEFAULT_MONITOR, DEFAULT_RESTART_DELAY
from swarmcore.model.secret import Config, Secret
from swarmcore.model.service import Service
from swarmcore.model.task import RuntimeType, Task, TaskSpec

ZERO_TIME = "0001-01-01T00:00:00Z"  # Go's zero time: never


def builtins(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(value)
    return found


def _object(value: Any, *ours: str) -> dict[str, Any]:
    found = builtins(value)
    for name in ours:
        found.pop(name, None)
    found.setdefault("CreatedAt", ZERO_TIME)
    found.setdefault("UpdatedAt", ZERO_TIME)
    return found


def service(item: Service, *, defaults: bool = False) -> dict[str, Any]:
    """`defaults`: with the values that apply where the specs say nothing."""
    found = _object(item, "SpecVersion", "PreviousSpecVersion")
    for name in ("Spec", "PreviousSpec"):
        if name in found:
            _fill(found[name])
            if defaults:
                _insert_defaults(found[name])
    endpoint = found.setdefault("Endpoint", {})
    if endpoint.get("Spec", {"Mode": "vip"}) == {"Mode": "vip"} and not endpoint.get("VirtualIPs"):
        endpoint["Spec"] = {}  # Docker fills it in where there was something to give: no address, no port
    return found


def _fill(spec: dict[str, Any]) -> None:
    """What dockerd fills in where a spec says nothing (nothing more)."""
    mode = spec.setdefault("Mode", {})
    if not mode:
        mode["Replicated"] = {}
    if "Replicated" in mode:
        mode["Replicated"].setdefault("Replicas", 1)
    template = spec.setdefault("TaskTemplate", {})
    template.setdefault("ContainerSpec", {}).setdefault("Isolation", "default")
    template.setdefault("Runtime", "container")
    _fill_template(template)
    for name in ("UpdateConfig", "RollbackConfig"):
        if name in spec and spec[name]["MaxFailureRatio"] == int(spec[name]["MaxFailureRatio"]):
            spec[name]["MaxFailureRatio"] = int(spec[name]["MaxFailureRatio"])  # Go writes 0, not 0.0


def _fill_template(template: dict[str, Any]) -> None:
    if "RestartPolicy" in template:
        template["RestartPolicy"].setdefault("MaxAttempts", 0)


def _insert_defaults(spec: dict[str, Any]) -> None:
    """`?insertDefaults=true`, after `_fill`: what holds, not what was said."""
    template = spec["TaskTemplate"]
    container = template["ContainerSpec"]
    container.setdefault("StopGracePeriod", DEFAULT_STOP_GRACE_PERIOD)
    container.setdefault("DNSConfig", {})
    template.setdefault("Resources", {})
    template.setdefault("Placement", {})
    policy = template.setdefault("RestartPolicy", {})
    for name, value in (("Condition", "any"), ("Delay", DEFAULT_RESTART_DELAY), ("MaxAttempts", 0)):
        policy.setdefault(name, value)
    for name in ("UpdateConfig", "RollbackConfig"):
        config = spec.setdefault(name, {"Parallelism": 1})
        config.setdefault("Monitor", DEFAULT_MONITOR)
        for key, value in (("FailureAction", "pause"), ("MaxFailureRatio", 0), ("Order", "stop-first")):
            config.setdefault(key, value)


def task(item: Task, networks: Reader[Network]) -> dict[str, Any]:
    found = _object(
        replace(
            item,
            spec=_NO_SPEC,
            networks_attachments=(),
            spec_version=None,
            service_annotations=_NO_ANNOTATIONS,
            endpoint=None,
            log_driver=None,
        ),
        "ServiceAnnotations",
    )
    found["Spec"] = _TASK_SPECS.of(item.spec)
    found["DesiredState"] = item.desired_state.text
    status = found.setdefault("Status", {})
    status["State"] = item.status.state.text
    status.setdefault("Timestamp", found["CreatedAt"])
    found.setdefault("NodeID", "")
    found.setdefault("Slot", 0)
    if item.networks_attachments:
        found["NetworksAttachments"] = [_attachment(one, networks) for one in item.networks_attachments]
    return found


def _task_spec(spec: TaskSpec) -> dict[str, Any]:
    found = builtins(spec)
    if spec.runtime is RuntimeType.ATTACHMENT:
        for wish in found.get("Networks", ()):
            wish.pop("Addresses", None)
    else:
        found.setdefault("ContainerSpec", {}).setdefault("Isolation", "default")
        found.pop("Runtime", None)  # Docker tells it of services and of other runtimes only
        _fill_template(found)
    return found


def _attachment(item: NetworkAttachment, networks: Reader[Network]) -> dict[str, Any]:
    """A task shows its networks whole, as they are now; of one that is gone the id is left."""
    network = networks.get(item.network_id)
    shown = _NETWORKS.of(network) if network is not None else {"ID": item.network_id}
    return {"Network": shown, "Addresses": list(item.addresses)}


def _network(network: Network) -> dict[str, Any]:
    shown = _object(network, "PendingDelete")
    shown["Spec"].setdefault("Scope", "swarm")
    return shown


_NO_SPEC, _NO_ANNOTATIONS = TaskSpec(), Annotations()
_TASK_SPECS: Kept[TaskSpec] = Kept(_task_spec)
_NETWORKS: Kept[Network] = Kept(_network)


def node(item: Node, raft: RaftStatus) -> dict[str, Any]:
    found = _object(item, "Role", "Certificate", "Membership", "ManagerStatus", "Attachments")
    description = found.setdefault("Description", {})
    for name in ("DataPathAddr", "HostSubnets"):
        description.pop(name, None)
    description.setdefault("Hostname", "")
    description.setdefault("Engine", {}).setdefault("EngineVersion", "")
    description.setdefault("Platform", {})
    description.setdefault("Resources", {})
    member = raft.members.get(item.id)
    if member is not None:
        leads = raft.leader == item.id
        # Only the leader hears from every member; elsewhere the node's own session tells as much.
        reachable = raft.reachable.get(item.id, item.status.state is NodeState.READY) or leads
        status = {"Reachability": "reachable" if reachable else "unreachable", "Addr": member.address}
        found["ManagerStatus"] = ({"Leader": True} if leads else {}) | status
    return found


def cluster(item: Cluster, *, tokens: bool = True) -> dict[str, Any]:
    """GET /swarm; without tokens it is the Cluster of GET /info."""
    ours = ("BlacklistedCertificates", "UnlockKeys", "NetworkKeys", "Generation", "LeftBehind")
    found = _object(item, "RootCA", *ours)
    found["Spec"].get("CAConfig", {}).pop("SigningCAKey", None)
    found["TLSInfo"] = tls_info(item)
    if tokens:
        joining = item.root_ca.join_tokens
        found["JoinTokens"] = {"Worker": joining.worker, "Manager": joining.manager}
    found.setdefault("RootRotationInProgress", False)
    found.setdefault("DefaultAddrPool", ["10.0.0.0/8"])
    found.setdefault("SubnetSize", 24)
    found.setdefault("DataPathPort", 4789)
    return found


def tls_info(item: Cluster) -> dict[str, Any]:
    return builtins(item.tls_info) | {"TrustRoot": item.root_ca.ca_cert.decode()}


def secret(item: Secret) -> dict[str, Any]:
    found = _object(item)
    found["Spec"].pop("Data", None)
    return found


def config(item: Config) -> dict[str, Any]:
    return _object(item)
