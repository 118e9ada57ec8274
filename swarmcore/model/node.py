"""Nodes: what the user wants of one, what it told about itself, and how the managers see it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import field

from swarmcore.model.base import INTERNAL, Object, Part, Platform, Spec, shown
from swarmcore.model.network import NetworkAttachment
from swarmcore.model.resources import Resources


class NodeRole(StrEnum):
    WORKER = "worker"
    MANAGER = "manager"


class Availability(StrEnum):
    ACTIVE = "active"
    PAUSE = "pause"
    DRAIN = "drain"


class NodeState(StrEnum):
    UNKNOWN = "unknown"
    DOWN = "down"
    READY = "ready"
    DISCONNECTED = "disconnected"


class Reachability(StrEnum):
    UNKNOWN = "unknown"
    UNREACHABLE = "unreachable"
    REACHABLE = "reachable"


class Membership(StrEnum):
    PENDING = "pending"
    ACCEPTED = "accepted"


class NodeSpec(Spec, frozen=True, kw_only=True):
    role: NodeRole = shown(NodeRole.WORKER)
    availability: Availability = shown(Availability.ACTIVE)


class Plugin(Part, frozen=True, kw_only=True):
    type: str = ""
    name: str = ""


class EngineDescription(Part, frozen=True, kw_only=True):
    engine_version: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    plugins: tuple[Plugin, ...] = ()


class TLSInfo(Part, frozen=True, kw_only=True):
    """Which root a node trusts and who issued its certificate: a root rotation watches it."""

    trust_root: str = ""  # PEM
    cert_issuer_subject: bytes = b""
    cert_issuer_public_key: bytes = b""


class NodeDescription(Part, frozen=True, kw_only=True):
    hostname: str = ""
    platform: Platform = shown(Platform())
    resources: Resources = shown(Resources())
    engine: EngineDescription = shown(EngineDescription())
    tls_info: TLSInfo = shown(TLSInfo(), name="TLSInfo")
    # Where other hosts send this node's overlay traffic; empty: the address that its session comes from.
    data_path_addr: Annotated[str, INTERNAL] = ""
    # The host's own addresses, each with the prefix length of its network, which no overlay may overlap.
    host_subnets: Annotated[tuple[str, ...], INTERNAL] = ()
    # Networks (CIDR) to which it has a route; none that says "everywhere".
    host_routes: Annotated[tuple[str, ...], INTERNAL] = ()
    # What is wrong on the node though it is there (a full disk); shown as its status' message.
    fault: Annotated[str, INTERNAL] = ""


class NodeStatus(Part, frozen=True, kw_only=True):
    state: NodeState = shown(NodeState.UNKNOWN)
    message: str = ""
    addr: str = ""


class ManagerStatus(Part, frozen=True, kw_only=True):
    leader: bool = False
    reachability: Reachability = shown(Reachability.UNKNOWN)
    addr: str = ""


class IssuanceState(StrEnum):
    """Where a node's certificate stands: `rotate` asks the node for a new one, `pending` the CA."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    ISSUED = "issued"
    ROTATE = "rotate"
    RENEW = "renew"
    FAILED = "failed"


class Certificate(Part, frozen=True, kw_only=True):
    role: NodeRole = shown(NodeRole.WORKER)
    csr: bytes = b""
    pem: bytes = b""
    status: IssuanceState = shown(IssuanceState.UNKNOWN)
    err: str = ""


class Node(Object, frozen=True, kw_only=True):
    """`spec.role` is the wish, `role` what the node is; the role manager brings them together."""

    spec: NodeSpec = shown(NodeSpec())
    description: NodeDescription | None = None
    status: NodeStatus = shown(NodeStatus())
    manager_status: ManagerStatus | None = None
    role: NodeRole = shown(NodeRole.WORKER)
    certificate: Certificate | None = None
    membership: Membership = shown(Membership.ACCEPTED)
    # Its address on the ingress network, from the allocator.
    attachments: Annotated[tuple[NetworkAttachment, ...], INTERNAL] = ()
