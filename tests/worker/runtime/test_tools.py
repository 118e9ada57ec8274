"""What a host lacks is named in one line; cgroup layouts are understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmcore.errors import FailedPrecondition
from worker.runtime.cgroups import clean_parent, mount_points
from worker.runtime.crun import clean, exit_code_of, refuses_host
from worker.runtime.spawner import hybrid_mounts
from worker.runtime.tools import preflight

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
35 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
41 31 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
PURE_V2 = "41 31 0:37 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
PURE_V1 = "".join(line for line in HYBRID.splitlines(keepends=True) if "cgroup2" not in line)


@pytest.mark.root
def test_missing_programs_are_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="conmon and crun or runc and nft not found") as failure:
        preflight(path=str(tmp_path))
    assert failure.value.hint == "install it: apt-get install conmon crun nftables"
    assert "\n" not in str(failure.value)


@pytest.mark.root
def test_crun_comes_before_runc_and_either_will_do() -> None:
    assert [tool.name for tool in preflight().runtimes] == ["crun", "runc"]
    assert [tool.name for tool in preflight(runtimes=("runc",)).runtimes] == ["runc"]


@pytest.mark.parametrize(
    ("mountinfo", "hidden", "controllers"),
    [
        (HYBRID, ["/sys/fs/cgroup/unified"], {"memory", "cpu", "cpuacct", "unified"}),
        (PURE_V2, [], {"unified"}),
        (PURE_V1, [], {"memory", "cpu", "cpuacct"}),
    ],
    ids=["hybrid", "version 2", "version 1"],
)
def test_cgroup_layouts_are_told_apart(mountinfo: str, hidden: list[str], controllers: set[str]) -> None:
    assert hybrid_mounts(mountinfo) == hidden
    assert set(mount_points(mountinfo)) == controllers


@pytest.mark.parametrize("parent", ["", "/", "a/../b", ".."])
def test_a_cgroup_parent_cannot_leave_the_tree(parent: str) -> None:
    with pytest.raises(ValueError, match="invalid cgroup parent"):
        clean_parent(parent)


def test_what_runtimes_say_is_understood() -> None:
    assert refuses_host("cgroups in hybrid mode not supported, drop all controllers from cgroupv2")
    assert not refuses_host("executable file `x` not found in $PATH")
    assert exit_code_of("executable file `x` not found in $PATH: No such file or directory") == 127
    assert exit_code_of("open executable: Permission denied") == 126
    assert exit_code_of("something else") == 128
    assert (
        clean('time="2026-01-01T00:00:00Z" level=error msg="runc create failed: no"')
        == "runc create failed: no"
    )
    assert clean("2026-11-21T07:42:26.000000Z: error\n2026-11-21T07:42:26.1Z: it broke\n") == "it broke"
