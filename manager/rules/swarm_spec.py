"""The settings of a swarm: what users may ask for, when they make one and later."""

from __future__ import annotations

from msgspec.structs import replace

from manager.rules.sizes import spec_size
from swarmcore.errors import Invalid, Unsupported
from swarmcore.model.cluster import (
    CLUSTER_NAME,
    MAX_REPLICAS_LABEL,
    MOST_MAX_REPLICAS,
    SwarmSpec,
    max_replicas,
    merged,
)
from swarmcore.model.support import unsupported_log_driver

MIN_CERT_EXPIRY = 3600 * 10**9  # nanoseconds


def swarm_change(current: SwarmSpec, wanted: SwarmSpec) -> SwarmSpec:
    """The settings that come of it when a user sends `wanted`, to a swarm or to make one."""
    spec_size(wanted, "the swarm")
    _swarm(wanted)
    spec = merged(current, wanted)
    if replace(spec.raft, snapshot_interval=0) != replace(current.raft, snapshot_interval=0):
        raise Unsupported(
            "of raft's settings only SnapshotInterval can be changed", "leave the others as they are"
        )
    return spec


def _swarm(spec: SwarmSpec) -> None:
    limit = spec.labels.get(MAX_REPLICAS_LABEL)
    if limit is not None and str(max_replicas(spec)) != limit:
        raise Invalid(
            f"invalid label {MAX_REPLICAS_LABEL}={limit[:40]!r}",
            f"it is how many replicas a service may have, 1 to {MOST_MAX_REPLICAS}",
        )
    if spec.name not in ("", CLUSTER_NAME):
        raise Invalid(f'the swarm is called "{CLUSTER_NAME}", it cannot be renamed to {spec.name!r}')
    expiry = spec.ca_config.node_cert_expiry
    if expiry and expiry < MIN_CERT_EXPIRY:
        raise Invalid("minimum certificate expiry time is 1h0m0s")
    if spec.dispatcher.heartbeat_period < 0:
        raise Invalid("heartbeat period cannot be negative")
    if 0 < spec.dispatcher.heartbeat_period < 10**8:
        raise Invalid("heartbeat period must be at least 100ms")
    if spec.encryption_config.auto_lock_managers:
        raise Unsupported("autolock has no behaviour yet", "leave AutoLockManagers off")
    if spec.ca_config.external_cas or spec.ca_config.signing_ca_cert or spec.ca_config.signing_ca_key:
        raise Unsupported("external and given CAs have no behaviour yet", "leave them out of CAConfig")
    if spec.ca_config.force_rotate:
        raise Unsupported("rotation of the root has no behaviour yet", "leave ForceRotate at 0")
    if spec.task_defaults.log_driver is not None:
        for line in unsupported_log_driver(spec.task_defaults.log_driver):
            raise Unsupported(line)
