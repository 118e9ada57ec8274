"""Services: what the user wants run, how many of it, and how updates of it go."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from msgspec import field
from msgspec.structs import replace

from swarmcore.model.base import Object, Part, Spec, Uint, Version, shown
from swarmcore.model.container import DNSConfig, HealthConfig, Isolation, Privileges
from swarmcore.model.endpoint import Endpoint, EndpointSpec
from swarmcore.model.network import NetworkAttachmentConfig
from swarmcore.model.policy import Placement, RestartPolicy, UpdateConfig
from swarmcore.model.resources import Limit, ResourceRequirements, Resources
from swarmcore.model.task import RuntimeType, TaskSpec

P = TypeVar("P", bound=Part)


class ReplicatedService(Part, frozen=True, kw_only=True):
    replicas: Uint | None = None


class GlobalService(Part, frozen=True, kw_only=True):
    """One task on every node that fits."""


class ReplicatedJob(Part, frozen=True, kw_only=True):
    max_concurrent: Uint | None = None
    total_completions: Uint | None = None


class GlobalJob(Part, frozen=True, kw_only=True):
    """One run on every node that fits."""


class ServiceMode(Part, frozen=True, kw_only=True):
    """At most one of these; none means one replica."""

    replicated: ReplicatedService | None = None
    global_: GlobalService | None = field(default=None, name="Global")
    replicated_job: ReplicatedJob | None = None
    global_job: GlobalJob | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Docker's names of the modes that are set; a valid spec has at most one."""
        modes = {
            "replicated": self.replicated,
            "global": self.global_,
            "replicated-job": self.replicated_job,
            "global-job": self.global_job,
        }
        return tuple(name for name, mode in modes.items() if mode is not None)

    @property
    def name(self) -> str:
        return self.names[0] if self.names else "replicated"


class ServiceSpec(Spec, frozen=True, kw_only=True):
    """`networks` is the old place (API < 1.44) of `task_template.networks`."""

    task_template: TaskSpec = shown(TaskSpec())
    mode: ServiceMode = shown(ServiceMode())
    update_config: UpdateConfig | None = None
    rollback_config: UpdateConfig | None = None
    networks: tuple[NetworkAttachmentConfig, ...] = ()
    endpoint_spec: EndpointSpec | None = None

    @property
    def replicas(self) -> int:
        """Of a replicated service; Docker's default is 1."""
        replicated = self.mode.replicated
        return 1 if replicated is None or replicated.replicas is None else replicated.replicas


class UpdateState(StrEnum):
    UPDATING = "updating"
    PAUSED = "paused"
    COMPLETED = "completed"
    ROLLBACK_STARTED = "rollback_started"
    ROLLBACK_PAUSED = "rollback_paused"
    ROLLBACK_COMPLETED = "rollback_completed"


class UpdateStatus(Part, frozen=True, kw_only=True):
    state: UpdateState = shown(UpdateState.UPDATING)
    started_at: datetime | None = None
    completed_at: datetime | None = None
    message: str = ""


class JobStatus(Part, frozen=True, kw_only=True):
    job_iteration: Version = shown(Version())
    last_execution: datetime | None = None


class Service(Object, frozen=True, kw_only=True):
    """`spec_version` is the version at which `spec` last changed: a task of an older one may be dirty."""

    spec: ServiceSpec = shown(ServiceSpec())
    previous_spec: ServiceSpec | None = None
    spec_version: Version = shown(Version())
    previous_spec_version: Version | None = None
    endpoint: Endpoint | None = None
    update_status: UpdateStatus | None = None
    job_status: JobStatus | None = None


def canonical(spec: ServiceSpec) -> ServiceSpec:
    """What is stored: the spec as it came, with the few values that Docker writes into it where it says nothing.

    Clients read a spec, change a field and send all of it back: empty parts stay, and mean what `essence` says.
    """
    template = spec.task_template
    container = template.container
    mode = spec.mode if spec.mode.names else ServiceMode(replicated=ReplicatedService())
    if mode.replicated is not None and mode.replicated.replicas is None:
        mode = replace(mode, replicated=ReplicatedService(replicas=1))
    return replace(
        spec,
        mode=mode,
        task_template=replace(
            template,
            container_spec=replace(container, isolation=container.isolation or Isolation.DEFAULT),
            runtime=template.runtime or RuntimeType.CONTAINER,
            networks=template.networks or spec.networks,
        ),
        # What both places say the same is said once; a difference is the user's to resolve.
        networks=() if template.networks in ((), spec.networks) else spec.networks,
    )


def essence(template: TaskSpec) -> TaskSpec:
    """What a template asks for: two that differ only in parts that say nothing have the same one."""
    container = template.container
    return replace(
        template,
        container_spec=replace(
            container,
            isolation=container.isolation or Isolation.DEFAULT,
            stop_grace_period=container.stop_grace_ns,
            privileges=_unless_empty(container.privileges, Privileges()),
            healthcheck=_unless_empty(container.healthcheck, HealthConfig()),
            dns_config=_unless_empty(container.dns_config, DNSConfig()),
        ),
        runtime=template.runtime or RuntimeType.CONTAINER,
        restart_policy=_spelt_out(template.restart_policy or RestartPolicy()),
        placement=_unless_empty(template.placement, Placement()),
        resources=_said(template.resources),
    )


def _spelt_out(policy: RestartPolicy) -> RestartPolicy:
    """With the values that hold where it says nothing: they are shown to clients, which send them back."""
    return replace(
        policy, delay=policy.delay_ns, max_attempts=policy.max_attempts or 0, window=policy.window or 0
    )


def _said(resources: ResourceRequirements | None) -> ResourceRequirements | None:
    """Docker's command sends empty limits and reservations, which ask for nothing."""
    if resources is None:
        return None
    limits = _unless_empty(resources.limits, Limit())
    reservations = _unless_empty(resources.reservations, Resources())
    return _unless_empty(replace(resources, limits=limits, reservations=reservations), ResourceRequirements())


def _unless_empty(part: P | None, nothing: P) -> P | None:
    return None if part == nothing else part
