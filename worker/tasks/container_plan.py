"""From a task to the plan of its container: values in, a value out.

Below this line nobody knows of tasks: what their containers need of them is said here, in the plan's words.
"""

from __future__ import annotations

from collections.abc import Mapping

from swarmcore.durations import duration
from swarmcore.errors import Invalid, NotFound, clipped
from swarmcore.model.container import ContainerSpec, FileTarget, SeccompMode
from swarmcore.model.endpoint import DRAIN_LABEL, PortConfig, PublishMode
from swarmcore.model.naming import task_name
from swarmcore.model.network import PREDEFINED, is_antispoof
from swarmcore.model.overlay import endpoint_mac
from swarmcore.model.resources import Limit
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import Task
from swarmcore.text.numbers import whole
from worker.containers.plan import ContainerPlan, PlannedFile
from worker.networks.plan import NetworkPlan, PlannedEndpoint
from worker.runtime.confinement import Confinement
from worker.runtime.users import LARGEST_ID

DRAIN = 2.0  # seconds, as long as Docker waits


def container_plan(task: Task, files: tuple[PlannedFile, ...] = ()) -> ContainerPlan:
    """`files` are the task's secrets and configs (`planned_files`). Its owner is the task's id."""
    spec = task.spec.container
    if not spec.image:
        raise Invalid("the task names no image")
    driver = task.log_driver or task.spec.log_driver
    return ContainerPlan(
        name=task_name(task),
        owner=task.id,
        image=spec.image,
        entrypoint=spec.command,
        arguments=spec.args,
        environment=spec.env,
        directory=spec.dir,
        user=spec.user,
        groups=spec.groups,
        hostname=spec.hostname,
        terminal=spec.tty,
        init=bool(spec.init),
        health=spec.healthcheck,
        stop_signal=spec.stop_signal,
        stop_grace=spec.stop_grace_ns,
        log_driver=driver.name if driver is not None else "",
        mounts=spec.mounts,
        files=files,
        hosts=spec.hosts,
        networks=network_plan(task),
        confinement=_confinement(task),
    )


def _confinement(task: Task) -> Confinement:
    spec, resources = task.spec.container, task.spec.resources
    privileges = spec.privileges
    seccomp = privileges.seccomp if privileges is not None else None
    return Confinement(
        read_only=spec.read_only,
        capability_add=spec.capability_add,
        capability_drop=spec.capability_drop,
        seccomp=seccomp.mode if seccomp is not None else SeccompMode.DEFAULT,
        no_new_privileges=privileges is not None and privileges.no_new_privileges,
        sysctls=spec.sysctls,
        ulimits=spec.ulimits,
        oom_score_adj=spec.oom_score_adj,
        limits=(resources.limits if resources is not None else None) or Limit(),
    )


# -- networks --------------------------------------------------------------------------------------
def network_plan(task: Task) -> NetworkPlan:
    return NetworkPlan(
        name=task_name(task),
        owner=task.id,
        predefined=_predefined_network(task),
        endpoints=tuple(
            PlannedEndpoint(
                network_id=attachment.network_id,
                mac=endpoint_mac(task.id, attachment.network_id),
                addresses=attachment.addresses,
            )
            for attachment in task.networks_attachments
        ),
        ports=_host_ports(task),
        antispoof=is_antispoof(task.service_annotations.labels),
        dns=task.spec.container.dns_config,
    )


def _predefined_network(task: Task) -> str:
    """`host`, `none` or `bridge` if the task asks for one of them, else nothing."""
    return next((network.target for network in task.spec.networks if network.target in PREDEFINED), "")


def _host_ports(task: Task) -> tuple[PortConfig, ...]:
    """What the task publishes on its own node."""
    if task.endpoint is None:
        return ()
    ports = task.endpoint.ports or task.endpoint.spec.ports
    return tuple(port for port in ports if port.publish_mode is PublishMode.HOST)


def drain_seconds(task: Task) -> float:
    """How long connections that live get to end once the task shall stop."""
    text = task.service_annotations.labels.get(DRAIN_LABEL, "")
    return duration(text) / 1e9 if text else DRAIN


# -- secrets and configs ---------------------------------------------------------------------------
def planned_files(
    spec: ContainerSpec, secrets: Mapping[str, Secret], configs: Mapping[str, Config]
) -> tuple[PlannedFile, ...]:
    """NotFound names one that is missing, Invalid one whose owner is no number."""
    files: list[PlannedFile] = []
    for reference in spec.secrets:
        if (secret := secrets.get(reference.secret_id)) is None:
            raise NotFound(f"secret {reference.secret_name} did not come with the task")
        assert reference.file is not None
        what = f"secret {reference.secret_name}"
        files.append(_file(reference.file, secret.spec.data, "/run/secrets", what))
    for used in spec.configs:
        if (config := configs.get(used.config_id)) is None:
            raise NotFound(f"config {used.config_name} did not come with the task")
        if used.file is not None:
            files.append(_file(used.file, config.spec.data, "", f"config {used.config_name}"))
    return tuple(files)


def _file(file: FileTarget, content: bytes, folder: str, what: str) -> PlannedFile:
    for value, kind in ((file.uid, "UID"), (file.gid, "GID")):
        if value and whole(value, LARGEST_ID) is None:
            raise Invalid(f"{what} has the invalid {kind} {clipped(value)}: a number is needed")
    return PlannedFile(
        target=file.name if file.name.startswith("/") else f"{folder}/{file.name}",
        content=content,
        uid=int(file.uid or 0),
        gid=int(file.gid or 0),
        mode=file.mode,
    )
