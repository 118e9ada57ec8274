"""What /info says of the kernel, under both versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyswarmd.engine.host.features import filesystem, host_features

LIMITS = {
    *("MemoryLimit", "SwapLimit", "KernelMemory", "KernelMemoryTCP", "CpuCfsPeriod", "CpuCfsQuota"),
    *("CPUShares", "CPUSet", "PidsLimit", "OomKillDisable", "IPv4Forwarding"),
    *("BridgeNfIptables", "BridgeNfIp6tables"),
}


def put(folder: Path, *files: str, text: str = "1\n") -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return put(tmp_path / "proc", "sys/net/ipv4/ip_forward", "sys/net/bridge/bridge-nf-call-iptables")


def test_version_1_has_what_its_files_show(tmp_path: Path, proc: Path) -> None:
    memory = put(tmp_path / "memory", "memory.limit_in_bytes", "memory.oom_control")
    cpu = put(tmp_path / "cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares")
    pids = put(tmp_path / "pids", "cgroup.procs")
    unified = put(
        tmp_path / "unified", "cgroup.controllers", text=""
    )  # beside version 1, with no controllers
    found = host_features({"memory": memory, "cpu": cpu, "pids": pids, "unified": unified}, proc)
    assert found.cgroup_version == "1"
    assert set(found.limits) == LIMITS
    lacking = {name for name, there in found.limits.items() if not there}
    assert lacking == {"SwapLimit", "KernelMemory", "KernelMemoryTCP", "CPUSet", "BridgeNfIp6tables"}
    assert list(found.warnings()) == ["WARNING: No swap limit support", "WARNING: No cpuset support"]


def test_version_2_has_what_its_controllers_do(tmp_path: Path, proc: Path) -> None:
    unified = put(tmp_path / "unified", "cgroup.controllers", text="cpuset cpu io memory pids\n")
    found = host_features({"unified": unified}, proc)
    assert found.cgroup_version == "2"
    assert set(found.limits) == LIMITS
    lacking = {name for name, there in found.limits.items() if not there}
    assert lacking == {"KernelMemory", "KernelMemoryTCP", "OomKillDisable", "BridgeNfIp6tables"}
    assert not list(found.warnings())


def test_a_host_without_anything_is_warned_about(tmp_path: Path) -> None:
    found = host_features({}, tmp_path)
    assert not any(found.limits.values())
    assert len(list(found.warnings())) == 7


def test_the_file_system_below_a_folder_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 8:2 / /var/lib rw - xfs /dev/b rw\n"
        "3 1 8:3 / /var/library rw - btrfs /dev/c rw\n"
    )
    assert filesystem(Path("/var/lib/pyswarm"), mountinfo) == "xfs"
    assert filesystem(Path("/srv"), mountinfo) == "ext4"
