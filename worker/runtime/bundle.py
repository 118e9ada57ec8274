"""The OCI runtime config of a container, as Docker would make it. Pure: values in, a value out."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from swarmcore.errors import Invalid
from swarmcore.model.container import Mount, MountType, SeccompMode
from swarmcore.model.linux import CAPABILITIES
from swarmcore.model.resources import Limit
from worker.runtime import seccomp
from worker.runtime.capabilities import effective
from worker.runtime.confinement import Confinement
from worker.runtime.users import User

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


class Process(Struct, frozen=True, kw_only=True):
    """The first process of a container, with everything that the image says already in it."""

    arguments: tuple[str, ...]
    environment: tuple[str, ...] = ()
    directory: str = "/"
    user: User = User()
    terminal: bool = False


class BundleInput(Struct, frozen=True, kw_only=True):
    """Everything that decides how a container runs."""

    container_id: str
    hostname: str
    process: Process
    confinement: Confinement = Confinement()
    mounts: tuple[Mount, ...] = ()
    rootfs: str
    cgroup_path: str
    architecture: str
    capabilities: frozenset[str] = CAPABILITIES  # what the host has of them
    # The container shares the host's network; else it enters the namespace at `network_path`, or where that is
    # empty gets one of its own with loopback only.
    host_network: bool = False
    network_path: str = ""
    etc_files: Mapping[str, str] = {}  # path in the container -> file on the host
    private_files: Mapping[str, str] = {}  # the same, never written to
    sources: Mapping[str, str] = {}  # mount target -> directory of its volume


def oci_config(given: BundleInput) -> dict[str, Any]:
    """The content of config.json."""
    allowed = given.confinement
    namespaces = [{"type": name} for name in _NAMESPACES]
    if not given.host_network:
        namespaces.append(network_namespace(given.network_path))
    linux: dict[str, Any] = {
        "namespaces": namespaces,
        "cgroupsPath": given.cgroup_path,
        "resources": resources(allowed.limits),
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
        "sysctl": sysctls(allowed.sysctls, given.host_network),
    }
    caps = effective(allowed.capability_add, allowed.capability_drop, given.capabilities)
    if allowed.seccomp is SeccompMode.DEFAULT:
        linux["seccomp"] = seccomp.profile(caps, given.architecture)
    elif allowed.seccomp is SeccompMode.CUSTOM:
        raise Invalid("custom seccomp profiles are not supported")
    return {
        "ociVersion": "1.0.2",
        "process": _process(given.process, allowed, caps),
        "root": {"path": given.rootfs, "readonly": allowed.read_only},
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
def _process(wanted: Process, allowed: Confinement, caps: frozenset[str]) -> dict[str, Any]:
    user = wanted.user
    bounding = sorted(caps)
    held = bounding if user.uid == 0 else []  # as Docker: another user has them only through a file's
    return {
        "terminal": wanted.terminal,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": list(wanted.arguments),
        "env": list(wanted.environment),
        "cwd": wanted.directory,
        "capabilities": {"bounding": bounding, "effective": held, "permitted": held},
        "rlimits": [
            {
                "type": f"RLIMIT_{limit.name.upper()}",
                "soft": _unlimited(limit.soft),
                "hard": _unlimited(limit.hard),
            }
            for limit in allowed.ulimits
        ],
        "noNewPrivileges": allowed.no_new_privileges,
        "oomScoreAdj": allowed.oom_score_adj,
    }


def _unlimited(value: int) -> int:
    return 2**64 - 1 if value < 0 else value


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
    own = {clean_target(mount.target): mount for mount in given.mounts}
    listed = [entry for entry in _default_mounts() if entry["destination"] not in own]
    files = {**given.etc_files, **given.private_files}
    for target, source in files.items():
        if target not in own:
            read_only = given.confinement.read_only or target in given.private_files
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
def resources(limits: Limit) -> dict[str, Any]:
    devices: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for kind, major, minor, access in _DEVICES:
        rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
        if major is not None:
            rule["major"] = major
        if minor is not None:
            rule["minor"] = minor
        devices.append(rule)
    found: dict[str, Any] = {"devices": devices}
    if limits.memory_bytes > 0:
        found["memory"] = {"limit": limits.memory_bytes}
    if limits.nano_cpus > 0:
        period = _CPU_PERIOD if limits.nano_cpus >= _LITTLE else _LONG_CPU_PERIOD
        found["cpu"] = {"quota": limits.nano_cpus * period // 10**9, "period": period}
    if limits.pids > 0:
        found["pids"] = {"limit": limits.pids}
    return found


def sysctls(wanted: Mapping[str, str], host_network: bool) -> dict[str, str]:
    if host_network:
        if wrong := [name for name in wanted if name.startswith("net.")]:
            raise Invalid(f"sysctl {wrong[0]} cannot be set in the host's network namespace")
        return dict(wanted)
    # As Docker: any user may listen on low ports and send pings; the namespace is the container's own.
    defaults = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    return {**defaults, **wanted}
