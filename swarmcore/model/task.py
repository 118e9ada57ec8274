"""Tasks: one attempt to run a service's container on one node, never restarted."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum, StrEnum

from msgspec import Struct, field

from swarmcore.model.base import Annotations, Driver, Object, Part, Uint, Version, no_labels, shown
from swarmcore.model.container import ContainerSpec
from swarmcore.model.endpoint import Endpoint, PortConfig
from swarmcore.model.network import NetworkAttachment, NetworkAttachmentConfig
from swarmcore.model.policy import Placement, RestartPolicy
from swarmcore.model.resources import GenericResource, ResourceRequirements


class TaskState(IntEnum):
    """A Lamport clock: of two reports about a task the larger state is the newer."""

    NEW = 0
    PENDING = 64
    ASSIGNED = 192
    ACCEPTED = 256
    PREPARING = 320
    READY = 384
    STARTING = 448
    RUNNING = 512
    COMPLETE = 576
    SHUTDOWN = 640
    FAILED = 704
    REJECTED = 768
    REMOVE = 800  # only ever desired
    ORPHANED = 832

    @property
    def is_final(self) -> bool:
        """The task has ended: it will never run again."""
        return self > TaskState.RUNNING

    @property
    def text(self) -> str:
        """As the Engine API spells it."""
        return self.name.lower()


class RuntimeType(StrEnum):
    CONTAINER = "container"
    PLUGIN = "plugin"
    ATTACHMENT = "attachment"


class PluginPrivilege(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    name: str = ""
    description: str = ""
    value: tuple[str, ...] = ()


class PluginSpec(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An engine plugin as a service; the only part of the API with lower-case names."""

    name: str = ""
    remote: str = ""
    privileges: tuple[PluginPrivilege, ...] = ()
    disabled: bool = False
    env: tuple[str, ...] = ()


class NetworkAttachmentSpec(Part, frozen=True, kw_only=True):
    """A container outside of services that joined a swarm network."""

    container_id: str = field(default="", name="ContainerID")


class TaskSpec(Part, frozen=True, kw_only=True):
    container_spec: ContainerSpec | None = None
    plugin_spec: PluginSpec | None = None
    network_attachment_spec: NetworkAttachmentSpec | None = None
    resources: ResourceRequirements | None = None
    restart_policy: RestartPolicy | None = None
    placement: Placement | None = None
    networks: tuple[NetworkAttachmentConfig, ...] = ()
    log_driver: Driver | None = None
    force_update: Uint = shown(0)
    runtime: RuntimeType | None = None

    @property
    def container(self) -> ContainerSpec:
        """The container to run; a spec that says nothing has an empty one, as in Docker."""
        return self.container_spec if self.container_spec is not None else ContainerSpec()


class ContainerStatus(Part, frozen=True, kw_only=True):
    container_id: str = shown("", name="ContainerID")
    pid: int = shown(0, name="PID")
    exit_code: int = shown(0)


class PortStatus(Part, frozen=True, kw_only=True):
    ports: tuple[PortConfig, ...] = ()


class TaskStatus(Part, frozen=True, kw_only=True):
    """Observed; only grows."""

    timestamp: datetime | None = None
    state: TaskState = shown(TaskState.NEW)
    message: str = ""
    err: str = ""
    container_status: ContainerStatus | None = None
    port_status: PortStatus = shown(PortStatus())


class Task(Object, frozen=True, kw_only=True):
    """`spec` is a copy of the service's at `spec_version`; slot 0 means one task a node (global)."""

    name: str = ""
    labels: dict[str, str] = field(default_factory=no_labels)
    spec: TaskSpec = shown(TaskSpec())
    spec_version: Version | None = None
    service_id: str = field(default="", name="ServiceID")
    slot: Uint = 0
    node_id: str = field(default="", name="NodeID")
    status: TaskStatus = shown(TaskStatus())
    desired_state: TaskState = shown(TaskState.NEW)
    networks_attachments: tuple[NetworkAttachment, ...] = ()
    generic_resources: tuple[GenericResource, ...] = ()
    job_iteration: Version | None = None
    service_annotations: Annotations = shown(Annotations())
    endpoint: Endpoint | None = None
    log_driver: Driver | None = None
