"""The OCI runtime config of a task's container, as Docker would make it. Pure: values in, a value out."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from swarmcore.errors import Invalid
from swarmcore.model.container import ContainerSpec, Mount, MountType, SeccompMode
from swarmcore.model.linux import CAPABILITIES, signal_number
from swarmcore.model.resources import ResourceRequirements
from worker.images.oci import RunConfig
from worker.runtime import seccomp
from worker.runtime.capabilities import effective
from worker.runtime.users import User

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CPU_PERIOD = 100_000  # microseconds, as in Docker
# The kernel takes no quota below 1,000 us: less than a hundredth of a processor needs its longest period.
_LONG_CPU_PERIOD, _LITTLE = 1_000_000, 10**7
_MASKED = (
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *(
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ),
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NAMESPACES = ("pid", "mount", "ipc", "uts", "cgroup")
# (type, major, minor, access): null zero full random urandom tty console ptmx pts
_DEVICES = (
    *(("c", None, None, "m"), ("b", None, None, "m")),
    *(("c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)),
    *(("c", 5, minor, "rwm") for minor in (0, 1, 2)),
    ("c", 136, None, "rwm"),
)


class BundleInput(Struct, frozen=True, kw_only=True):
    """Everything that decides how a container runs."""

    container_id: str
    hostname: str
    spec: ContainerSpec
    image: RunConfig
    user: User
    rootfs: str
    cgroup_path: str
    architecture: str
    capabilities: frozenset[str] = CAPABILITIES  # what the host has of them
    resources: ResourceRequirements | None = None
    # The container shares the host's network; else it enters the namespace at `network_path`, or where that is
    # empty gets one of its own with loopback only.
    host_network: bool = False
    network_path: str = ""
    etc_files: Mapping[str, str] = {}  # path in the container -> file on the host
    secret_files: Mapping[str, str] = {}
    sources: Mapping[str, str] = {}  # mount target -> directory of its volume


def oci_config(given: BundleInput) -> dict[str, Any]:
    """The content of config.json."""
    spec = given.spec
    namespaces = [{"type": name} for name in _NAMESPACES]
    if not given.host_network:
        namespaces.append(network_namespace(given.network_path))
    linux: dict[str, Any] = {
        "namespaces": namespaces,
        "cgroupsPath": given.cgroup_path,
        "resources": resources(given.resources),
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
        "sysctl": sysctls(spec, given.host_network),
    }
    caps = effective(spec.capability_add, spec.capability_drop, given.capabilities)
    chosen = spec.privileges.seccomp if spec.privileges is not None else None
    if chosen is None or chosen.mode is SeccompMode.DEFAULT:
        linux["seccomp"] = seccomp.profile(caps, given.architecture)
    elif chosen.mode is SeccompMode.CUSTOM:
        raise Invalid("custom seccomp profiles are not supported")
    return {
        "ociVersion": "1.0.2",
        "process": process(given, caps),
        "root": {"path": given.rootfs, "readonly": spec.read_only},
        "hostname": given.hostname,
        "mounts": mounts(given),
        "linux": linux,
    }


def network_namespace(path: str) -> dict[str, str]:
    return {"type": "network", "path": path} if path else {"type": "network"}


def with_network_path(config: dict[str, Any], path: str) -> dict[str, Any]:
    """The same container in another network namespace: a path names a file of a daemon that may be gone."""
    linux = config["linux"]
    kept = [namespace for namespace in linux["namespaces"] if namespace["type"] != "network"]
    return {**config, "linux": {**linux, "namespaces": [*kept, network_namespace(path)]}}


# -- the process -----------------------------------------------------------------------------------
def command(spec: ContainerSpec, image: RunConfig) -> list[str]:
    """A command in the spec replaces the image's entrypoint and with it the image's arguments."""
    entrypoint = spec.command or image.entrypoint or ()
    args = spec.args or (() if spec.command else image.cmd or ())
    # One empty word takes the image's entrypoint away, as in Docker.
    words = list(args) if spec.command == ("",) else [*entrypoint, *args]
    if not words or not words[0]:
        raise Invalid(f"no command specified: image {spec.image} has none and the service names none")
    return words


def environment(spec: ContainerSpec, image: RunConfig, hostname: str, home: str) -> list[str]:
    """Later entries replace earlier ones of the same name; a name without `=` takes it away."""
    found: dict[str, str | None] = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if spec.tty:
        found["TERM"] = "xterm"
    for entry in (*(image.env or ()), *spec.env):
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            raise Invalid(f"invalid environment variable {entry!r}")
        found[name] = value if equals else None
    found.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in found.items() if value is not None]


def process(given: BundleInput, caps: frozenset[str]) -> dict[str, Any]:
    spec, user = given.spec, given.user
    directory = posixpath.normpath(posixpath.join("/", spec.dir or given.image.working_dir or "/"))
    bounding = sorted(caps)
    held = bounding if user.uid == 0 else []  # as Docker: another user has them only through a file's
    privileges = spec.privileges
    return {
        "terminal": spec.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": command(spec, given.image),
        "env": environment(spec, given.image, given.hostname, user.home),
        "cwd": directory,
        "capabilities": {"bounding": bounding, "effective": held, "permitted": held},
        "rlimits": [
            {
                "type": f"RLIMIT_{limit.name.upper()}",
                "soft": _unlimited(limit.soft),
                "hard": _unlimited(limit.hard),
            }
            for limit in spec.ulimits
        ],
        "noNewPrivileges": privileges is not None and privileges.no_new_privileges,
        "oomScoreAdj": spec.oom_score_adj,
    }


def _unlimited(value: int) -> int:
    return 2**64 - 1 if value < 0 else value


def stop_signal(spec: ContainerSpec, image: RunConfig) -> int:
    """The number of the signal that asks the container to stop."""
    return signal_number(spec.stop_signal or image.stop_signal or "SIGTERM")


# -- file systems ----------------------------------------------------------------------------------
def _default_mounts() -> list[dict[str, Any]]:
    safe = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc", "proc", safe),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/sys", "sysfs", "sysfs", [*safe, "ro"]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*safe, "ro"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", safe),
        _mount("/dev/shm", "tmpfs", "shm", [*safe, "mode=1777", "size=65536k"]),
    ]


def _mount(target: str, kind: str, source: str, options: Sequence[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def clean_target(target: str) -> str:
    path = posixpath.normpath(target)
    if not target.startswith("/") or path in ("/", "//"):
        raise Invalid(f"invalid mount target {target!r}: it must be an absolute path other than /")
    return path


def mounts(given: BundleInput) -> list[dict[str, Any]]:
    """Docker's, without those that the user's own mounts replace, then the user's, outer ones first."""
    own = {clean_target(mount.target): mount for mount in given.spec.mounts}
    listed = [entry for entry in _default_mounts() if entry["destination"] not in own]
    files = {**given.etc_files, **given.secret_files}
    for target, source in files.items():
        if target not in own:
            read_only = given.spec.read_only or target in given.secret_files
            listed.append(
                _mount(target, "bind", source, ["rbind", "rprivate", *(["ro"] if read_only else ["rw"])])
            )
    for target in sorted(own, key=lambda path: (path.count("/"), path)):
        listed.append(_user_mount(target, own[target], given.sources))
    return listed


def _user_mount(target: str, mount: Mount, sources: Mapping[str, str]) -> dict[str, Any]:
    access = "ro" if mount.read_only else "rw"
    match mount.type:
        case MountType.TMPFS:
            options = ["nosuid", "nodev", "noexec", "rprivate", access]
            tmpfs = mount.tmpfs_options
            options.append(f"mode={(tmpfs.mode if tmpfs and tmpfs.mode else 0o1777):o}")
            if tmpfs and tmpfs.size_bytes:
                options.append(f"size={tmpfs.size_bytes}")
            return _mount(target, "tmpfs", "tmpfs", options)
        case MountType.BIND:
            bind = mount.bind_options
            kind = "bind" if bind and bind.non_recursive else "rbind"
            propagation = bind.propagation.value if bind and bind.propagation else "rprivate"
            return _mount(target, "bind", posixpath.normpath(mount.source), [kind, propagation, access])
        case MountType.VOLUME:
            return _mount(target, "bind", sources[target], ["rbind", "rprivate", access])
    raise Invalid(f"mount {target}: mounts of type {mount.type} are not supported")


# -- limits ----------------------------------------------------------------------------------------
def resources(wanted: ResourceRequirements | None) -> dict[str, Any]:
    limits = wanted.limits if wanted is not None else None
    devices: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for kind, major, minor, access in _DEVICES:
        rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
        if major is not None:
            rule["major"] = major
        if minor is not None:
            rule["minor"] = minor
        devices.append(rule)
    found: dict[str, Any] = {"devices": devices}
    if limits is not None and limits.memory_bytes > 0:
        found["memory"] = {"limit": limits.memory_bytes}
    if limits is not None and limits.nano_cpus > 0:
        period = _CPU_PERIOD if limits.nano_cpus >= _LITTLE else _LONG_CPU_PERIOD
        found["cpu"] = {"quota": limits.nano_cpus * period // 10**9, "period": period}
    if limits is not None and limits.pids > 0:
        found["pids"] = {"limit": limits.pids}
    return found


def sysctls(spec: ContainerSpec, host_network: bool) -> dict[str, str]:
    if host_network:
        if wrong := [name for name in spec.sysctls if name.startswith("net.")]:
            raise Invalid(f"sysctl {wrong[0]} cannot be set in the host's network namespace")
        return dict(spec.sysctls)
    # As Docker: any user may listen on low ports and send pings; the namespace is the container's own.
    defaults = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    return {**defaults, **spec.sysctls}
