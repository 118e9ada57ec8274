"""What runs in a task's container: image, command, user, mounts, health check, secrets, privileges."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import field

from swarmcore.model.base import INTERNAL, Driver, Nanoseconds, Part, Uint, secretless, shown

DEFAULT_STOP_GRACE_PERIOD: Nanoseconds = 10_000_000_000


class MountType(StrEnum):
    BIND = "bind"
    VOLUME = "volume"
    TMPFS = "tmpfs"
    NPIPE = "npipe"
    CLUSTER = "cluster"
    IMAGE = "image"


class Propagation(StrEnum):
    RPRIVATE = "rprivate"
    PRIVATE = "private"
    RSHARED = "rshared"
    SHARED = "shared"
    RSLAVE = "rslave"
    SLAVE = "slave"


class BindOptions(Part, frozen=True, kw_only=True):
    propagation: Propagation | None = None
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeOptions(Part, frozen=True, kw_only=True):
    no_copy: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    subpath: str = ""
    driver_config: Driver | None = None


class ImageOptions(Part, frozen=True, kw_only=True):
    subpath: str = ""


class TmpfsOptions(Part, frozen=True, kw_only=True):
    """SizeBytes 0 = half of the memory, Mode 0 = 1777; Options are names or name, value pairs."""

    size_bytes: int = 0
    mode: Uint = 0
    options: tuple[tuple[str, ...], ...] = ()


class ClusterOptions(Part, frozen=True, kw_only=True):
    """CSI volumes have no options of their own."""


class Mount(Part, frozen=True, kw_only=True):
    type: MountType = shown(MountType.VOLUME)
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""  # meant for Docker Desktop; Linux ignores it
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    cluster_options: ClusterOptions | None = None


class HealthConfig(Part, frozen=True, kw_only=True):
    """Test is [] (the image's), ["NONE"], ["CMD", …] or ["CMD-SHELL", command]; 0 = the image's or Docker's value."""

    test: tuple[str, ...] = ()
    interval: Nanoseconds = 0
    timeout: Nanoseconds = 0
    start_period: Nanoseconds = 0
    start_interval: Nanoseconds = 0
    retries: int = 0


class DNSConfig(Part, frozen=True, kw_only=True):
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class FileTarget(Part, frozen=True, kw_only=True):
    """Where a secret or config appears in the container; Mode is the permission bits."""

    name: str = shown("")
    uid: str = shown("", name="UID")
    gid: str = shown("", name="GID")
    mode: Uint = shown(0)


class RuntimeTarget(Part, frozen=True, kw_only=True):
    """The config is not mounted but used by the runtime (credential spec)."""


class SecretReference(Part, frozen=True, kw_only=True):
    file: FileTarget | None = None
    secret_id: str = shown("", name="SecretID")
    secret_name: str = shown("")


class ConfigReference(Part, frozen=True, kw_only=True):
    file: FileTarget | None = None
    runtime: RuntimeTarget | None = None
    config_id: str = shown("", name="ConfigID")
    config_name: str = shown("")


class CredentialSpec(Part, frozen=True, kw_only=True):
    config: str = shown("")
    file: str = shown("")
    registry: str = shown("")


class SELinuxContext(Part, frozen=True, kw_only=True):
    disable: bool = shown(False)
    user: str = shown("")
    role: str = shown("")
    type: str = shown("")
    level: str = shown("")


class SeccompMode(StrEnum):
    DEFAULT = "default"
    UNCONFINED = "unconfined"
    CUSTOM = "custom"


class SeccompOptions(Part, frozen=True, kw_only=True):
    mode: SeccompMode = shown(SeccompMode.DEFAULT)
    profile: bytes = b""


class AppArmorMode(StrEnum):
    DEFAULT = "default"
    DISABLED = "disabled"


class AppArmorOptions(Part, frozen=True, kw_only=True):
    mode: AppArmorMode = shown(AppArmorMode.DEFAULT)


class Privileges(Part, frozen=True, kw_only=True):
    credential_spec: CredentialSpec | None = shown(None)
    selinux_context: SELinuxContext | None = shown(None, name="SELinuxContext")
    seccomp: SeccompOptions | None = None
    app_armor: AppArmorOptions | None = None
    no_new_privileges: bool = shown(False)


class Ulimit(Part, frozen=True, kw_only=True):
    name: str = shown("")
    hard: int = shown(0)
    soft: int = shown(0)


class Isolation(StrEnum):
    """Anything but default is Windows'."""

    DEFAULT = "default"
    PROCESS = "process"
    HYPERV = "hyperv"


class PullOptions(Part, frozen=True, kw_only=True):
    """Credentials of the image's registry (base64 JSON, as the client sent them). Never shown again."""

    registry_auth: str = ""

    def __repr__(self) -> str:
        return secretless(self, "registry_auth")


class ContainerSpec(Part, frozen=True, kw_only=True):
    """Command replaces the image's entrypoint, Args its command."""

    image: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    hostname: str = ""
    env: tuple[str, ...] = ()
    dir: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    privileges: Privileges | None = None
    init: bool | None = None
    stop_signal: str = ""
    tty: bool = field(default=False, name="TTY")
    open_stdin: bool = False
    read_only: bool = False
    mounts: tuple[Mount, ...] = ()
    stop_grace_period: Nanoseconds | None = None
    healthcheck: HealthConfig | None = None
    hosts: tuple[str, ...] = ()  # "IP name [name…]", as lines of /etc/hosts
    dns_config: DNSConfig | None = field(default=None, name="DNSConfig")
    secrets: tuple[SecretReference, ...] = ()
    configs: tuple[ConfigReference, ...] = ()
    isolation: Isolation | None = None
    sysctls: dict[str, str] = field(default_factory=dict)
    capability_add: tuple[str, ...] = ()
    capability_drop: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    oom_score_adj: int = 0
    pull_options: Annotated[PullOptions | None, INTERNAL] = None

    @property
    def stop_grace_ns(self) -> Nanoseconds:
        return DEFAULT_STOP_GRACE_PERIOD if self.stop_grace_period is None else self.stop_grace_period
