"""Which fields of a ServiceSpec have behaviour: the others are refused, never silently ignored.

An issue that gives a field its behaviour deletes the field's line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from swarmcore.errors import Unsupported
from swarmcore.model.base import Driver
from swarmcore.model.container import (
    ContainerSpec,
    HealthConfig,
    Isolation,
    Mount,
    MountType,
    Privileges,
)
from swarmcore.model.network import NetworkAttachmentConfig
from swarmcore.model.resources import ResourceRequirements
from swarmcore.model.service import ServiceSpec
from swarmcore.model.task import RuntimeType, TaskSpec

MOUNT_TYPES = (MountType.BIND, MountType.TMPFS)
LOG_DRIVERS = ("", "json-file", "none")


def check_supported(spec: ServiceSpec) -> None:
    """Raise Unsupported with all of `unsupported` in one line."""
    if messages := tuple(unsupported(spec)):
        raise Unsupported("; ".join(messages))


def unsupported(spec: ServiceSpec) -> Iterator[str]:
    """One clear line for each thing that this version would have to ignore."""
    if spec.mode.name != "replicated":
        yield f"mode {spec.mode.name} is not supported yet: only replicated services are"
    yield from _networks(spec.networks)
    yield from _task(spec.task_template)


def _task(task: TaskSpec) -> Iterator[str]:
    if task.runtime not in (None, RuntimeType.CONTAINER) or task.plugin_spec or task.network_attachment_spec:
        yield "only containers are supported: no plugins, no network attachments"
    yield from _networks(task.networks)
    if task.resources is not None:
        yield from _resources(task.resources)
    if task.log_driver is not None:
        yield from unsupported_log_driver(task.log_driver)
    if task.container_spec is not None:
        yield from _container(task.container_spec)


def _container(spec: ContainerSpec) -> Iterator[str]:
    for name, is_used in _REFUSED.items():
        if is_used(spec):
            yield f"{name} is not supported yet"
    if spec.isolation not in (None, Isolation.DEFAULT):
        yield f"isolation {spec.isolation} exists only on Windows"
    for mount in spec.mounts:
        yield from _mount(mount)
    if spec.privileges is not None:
        yield from _privileges(spec.privileges)


_REFUSED: dict[str, Callable[[ContainerSpec], bool]] = {
    "an init process (Init)": lambda c: bool(c.init),
    "an open standard input (OpenStdin)": lambda c: c.open_stdin,
    # ["NONE"] asks for no health check, which is what there is.
    "a health check": lambda c: (
        c.healthcheck is not None and c.healthcheck != HealthConfig() and c.healthcheck.test[:1] != ("NONE",)
    ),
    "use of secrets": lambda c: bool(c.secrets),
    "use of configs": lambda c: bool(c.configs),
}


def _mount(mount: Mount) -> Iterator[str]:
    where = f"mount {mount.target}"
    if mount.type not in MOUNT_TYPES:
        yield f"{where}: mounts of type {mount.type} are not supported yet"
    if mount.bind_options is not None and mount.bind_options.read_only_force_recursive:
        yield f"{where}: ReadOnlyForceRecursive is not supported yet"
    if mount.tmpfs_options is not None and mount.tmpfs_options.options:
        yield f"{where}: tmpfs options other than size and mode are not supported yet"


def _privileges(privileges: Privileges) -> Iterator[str]:
    given = {
        "CredentialSpec": privileges.credential_spec,
        "SELinuxContext": privileges.selinux_context,
        "Seccomp": privileges.seccomp,
        "AppArmor": privileges.app_armor,
    }
    for name, value in given.items():
        # A part that repeats its defaults asks for nothing.
        if value is not None and value != type(value)():
            yield f"Privileges.{name} is not supported yet"


def _resources(resources: ResourceRequirements) -> Iterator[str]:
    if resources.swap_bytes is not None:
        yield "a swap limit (SwapBytes) is not supported yet"
    if resources.memory_swappiness is not None:
        yield "MemorySwappiness is not supported yet"
    if resources.reservations is not None and resources.reservations.generic_resources:
        yield "generic resources are not supported yet"


def unsupported_log_driver(driver: Driver) -> Iterator[str]:
    if driver.name not in LOG_DRIVERS:
        yield f"log driver {driver.name} is not supported yet: use json-file or none"
    if driver.options:
        yield f"log options are not supported yet: {', '.join(sorted(driver.options))}"


def _networks(networks: tuple[NetworkAttachmentConfig, ...]) -> Iterator[str]:
    for network in networks:
        if network.driver_opts:
            options = ", ".join(sorted(network.driver_opts))
            yield f"driver options of network {network.target} are not supported yet: {options}"
