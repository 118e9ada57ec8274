"""What this host's kernel offers to containers: the part of GET /info that clients warn about where it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

# The file of a cgroup hierarchy that shows each feature, as (version 1's controller, file there).
_V1: Mapping[str, tuple[str, str]] = {
    "MemoryLimit": ("memory", "memory.limit_in_bytes"),
    "SwapLimit": ("memory", "memory.memsw.limit_in_bytes"),
    "KernelMemory": ("memory", "memory.kmem.limit_in_bytes"),
    "KernelMemoryTCP": ("memory", "memory.kmem.tcp.limit_in_bytes"),
    "CpuCfsPeriod": ("cpu", "cpu.cfs_period_us"),
    "CpuCfsQuota": ("cpu", "cpu.cfs_quota_us"),
    "CPUShares": ("cpu", "cpu.shares"),
    "CPUSet": ("cpuset", "cpuset.cpus"),
    "PidsLimit": ("pids", "cgroup.procs"),
    "OomKillDisable": ("memory", "memory.oom_control"),
}
# Under version 2: the controller that has it. Kernel memory and the OOM killer's switch are gone there.
_V2: Mapping[str, str] = {
    "MemoryLimit": "memory",
    "SwapLimit": "memory",
    "CpuCfsPeriod": "cpu",
    "CpuCfsQuota": "cpu",
    "CPUShares": "cpu",
    "CPUSet": "cpuset",
    "PidsLimit": "pids",
}
# What dockerd says in `Warnings` where one lacks; the docker command prints the lines as they are.
_WARNINGS: Mapping[str, str] = {
    "MemoryLimit": "WARNING: No memory limit support",
    "SwapLimit": "WARNING: No swap limit support",
    "CpuCfsPeriod": "WARNING: No cpu cfs period support",
    "CpuCfsQuota": "WARNING: No cpu cfs quota support",
    "CPUShares": "WARNING: No cpu shares support",
    "CPUSet": "WARNING: No cpuset support",
    "IPv4Forwarding": "WARNING: IPv4 forwarding is disabled",
}


class HostFeatures(Struct, frozen=True, kw_only=True):
    """`limits` by their names in GET /info; `cgroup_version` is that of the memory controller."""

    cgroup_version: str
    limits: Mapping[str, bool]

    def warnings(self) -> Iterator[str]:
        yield from (text for name, text in _WARNINGS.items() if not self.limits[name])


def host_features(mounts: Mapping[str, Path], proc: Path = Path("/proc")) -> HostFeatures:
    """`mounts` as `worker.runtime.cgroups.mount_points` reads them. Small files of the kernel: nothing that blocks."""
    unified = mounts.get("unified")
    controllers = _text(unified / "cgroup.controllers").split() if unified is not None else []
    second = "memory" not in mounts and bool(controllers)
    if second:
        limits = {name: _V2.get(name) in controllers for name in _V1}
    else:
        limits = {
            name: controller in mounts and (mounts[controller] / file).exists()
            for name, (controller, file) in _V1.items()
        }
    limits["IPv4Forwarding"] = _text(proc / "sys/net/ipv4/ip_forward").strip() == "1"
    for family, name in (("ip", "BridgeNfIptables"), ("ip6", "BridgeNfIp6tables")):
        limits[name] = _text(proc / f"sys/net/bridge/bridge-nf-call-{family}tables").strip() == "1"
    return HostFeatures(cgroup_version="2" if second else "1", limits=limits)


def filesystem(folder: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of file system that holds `folder`, in the kernel's word; empty where nothing says it."""
    best, kind = -1, ""
    for line in mountinfo.read_text().splitlines():
        left, _, right = line.partition(" - ")
        where = Path(left.split(" ")[4].replace("\\040", " "))
        if folder.is_relative_to(where) and len(where.parts) >= best:
            best, kind = len(where.parts), right.split(" ")[0]
    return kind


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # this kernel has no such file
        return ""
