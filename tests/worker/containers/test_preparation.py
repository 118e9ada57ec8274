"""What is made for a container before it starts, as seen from inside: image, mounts, limits, users, files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from swarmcore.errors import Conflict, Invalid, NotFound
from swarmcore.model.container import (
    BindOptions,
    ConfigReference,
    FileTarget,
    Mount,
    MountType,
    Privileges,
    SecretReference,
    TmpfsOptions,
    Ulimit,
)
from swarmcore.model.resources import Limit
from swarmcore.model.secret import Config, ConfigSpec, Secret, SecretSpec
from tests.worker.containers.conftest import IMAGE, Node
from tests.worker.images.archives import folder, link, member, saved, tar, written
from worker.containers import preparation
from worker.images.store import ImageStore
from worker.runtime.spawner_client import MountRequest, Spawner
from worker.tasks.container_plan import container_plan

pytestmark = pytest.mark.root


async def test_an_unknown_image_says_what_to_do(node: Node) -> None:
    with pytest.raises(NotFound, match="no such image: nowhere/nothing:1") as failure:
        await node.started(node.task(["true"], image="nowhere/nothing:1"))
    assert "image load" in failure.value.hint


async def test_an_image_of_many_layers_with_equal_ones_among_them_starts(node: Node, tmp_path: Path) -> None:
    busybox = next(
        (node.images.layers_directory / node.images.layer_names(node.images.get(IMAGE))[0]).glob("bin/sh")
    )
    base = tar(
        folder("bin"),
        member("bin/busybox", busybox.read_bytes(), mode=0o755),
        link("bin/sh", "busybox"),
        *(folder(name) for name in ("proc", "dev", "sys", "etc", "tmp")),
    )
    empty, layers = tar(folder("tmp")), [base]
    for number in range(70):
        layers += [tar(member(f"n{number}", b"x")), empty]
    await node.images.load(written(tmp_path / "many.tar", saved(layers, ["many"])))
    result = await node.run(["/bin/sh", "-c", "echo /n*"], image="many")
    assert (result.code, len(result.out.split())) == (0, 70)


class RemovingSpawner(Spawner):
    """Somebody removes the image while its file system is being mounted."""

    def __init__(self, real: Spawner, images: ImageStore) -> None:
        super().__init__()
        self._real, self._images = real, images
        self.refusals: list[str] = []

    async def mount(
        self, requests: Sequence[MountRequest], *, read: Sequence[tuple[str, str]] = ()
    ) -> list[str]:
        with pytest.raises(Conflict) as refusal:
            await self._images.remove(IMAGE)
        self.refusals.append(str(refusal.value))
        return await self._real.mount(requests, read=read)

    async def unmount(self, targets: Sequence[str | os.PathLike[str]]) -> None:
        await self._real.unmount(targets)


async def test_an_image_is_held_before_it_is_mounted_and_let_go_when_that_fails(node: Node) -> None:
    engine = node.containers.engine
    spawner = RemovingSpawner(engine.spawner, node.images)
    mounting = replace(engine, spawner=spawner)
    nobody = container_plan(node.task(["true"], user="nobody-knows-me"))
    with pytest.raises(Invalid, match="nobody-knows-me"):
        await preparation.prepare(mounting, nobody)
    assert len(spawner.refusals) == 1
    removed = await node.images.remove(IMAGE)
    assert removed.deleted


async def test_memory_beyond_the_limit_is_reported_as_oom(node: Node) -> None:
    result = await node.run(["tail", "/dev/zero"], limits=Limit(memory_bytes=16 << 20))
    assert (result.code, result.oom) == (137, True)
    assert "out of memory" in result.message


async def test_the_number_of_processes_is_limited(node: Node) -> None:
    command = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo all"
    result = await node.run(command, limits=Limit(pids=5))
    assert "all" not in result.out
    assert "can't fork" in result.err


async def test_processor_time_is_limited(node: Node) -> None:
    await node.started(node.task(["sleep", "1000"], limits=Limit(nano_cpus=200_000_000)))
    groups = list(Path("/sys/fs/cgroup").glob(f"**/{node.cgroup_parent}/*"))
    files = [group / name for group in groups for name in ("cpu.cfs_quota_us", "cpu.max")]
    assert {file.read_text().split()[0] for file in files if file.exists()} == {"20000"}


async def test_a_container_has_dockers_capabilities_and_a_seccomp_filter(node: Node) -> None:
    result = await node.run(["cat", "/proc/self/status"])
    status = dict(line.split(":\t", 1) for line in result.out.splitlines() if ":\t" in line)
    assert status["CapEff"] == status["CapBnd"] == status["CapPrm"] == "00000000a80425fb"
    assert status["CapInh"] == status["CapAmb"] == "0000000000000000"
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "0"


async def test_another_user_holds_no_capabilities(node: Node) -> None:
    result = await node.run(["cat", "/proc/self/status"], user="nobody")
    assert "CapEff:\t0000000000000000" in result.out
    assert "CapBnd:\t00000000a80425fb" in result.out
    assert "Uid:\t65534" in result.out


async def test_mounts_and_new_namespaces_are_refused(node: Node) -> None:
    result = await node.run("mount -t tmpfs none /tmp; unshare -m true; unshare -U true; echo end")
    assert result.out == "end\n"
    assert (
        result.err.lower().count("operation not permitted") + result.err.lower().count("permission denied")
        == 3
    )


async def test_with_sys_admin_the_filter_lets_mounts_pass(node: Node) -> None:
    result = await node.run("mount -t tmpfs none /tmp && echo mounted", capability_add=("SYS_ADMIN",))
    assert result.out == "mounted\n"


async def test_capabilities_are_dropped_and_privileges_stay_as_they_are(node: Node) -> None:
    result = await node.run(
        ["cat", "/proc/self/status"], capability_drop=("ALL",), privileges=Privileges(no_new_privileges=True)
    )
    assert "CapEff:\t0000000000000000" in result.out
    assert "NoNewPrivs:\t1" in result.out


async def test_a_container_sees_only_itself(node: Node) -> None:
    result = await node.run(
        "ps | wc -l; ls /proc | grep -c '^[0-9]'; cat /sys/class/net/*/address; cat /proc/1/cgroup"
    )
    lines = result.out.split()
    assert int(lines[0]) <= 5
    assert "00:00:00:00:00:00" in result.out  # loopback
    assert len([line for line in result.out.splitlines() if line.count(":") == 5]) == 1
    assert node.cgroup_parent not in result.out


async def test_loopback_is_up_and_the_own_name_resolves(node: Node) -> None:
    result = await node.run("ping -c1 -W2 $(hostname) | head -1; cat /etc/hostname", hostname="shop-1")
    assert "PING shop-1 (127.0.0.1)" in result.out
    assert result.out.endswith("shop-1\n")


async def test_the_host_network_is_the_daemons_own(node: Node) -> None:
    result = await node.run(["readlink", "/proc/self/ns/net"], network="host")
    assert result.out.strip() == os.readlink("/proc/self/ns/net")  # noqa: PTH115
    other = await node.run(["hostname"], network="host")
    assert other.out == "test-node\n"


async def test_masked_and_read_only_paths_are_dockers(node: Node) -> None:
    result = await node.run(
        "wc -c < /proc/keys; ls /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/domainname"
    )
    assert result.out.split() == ["0", "0"]
    assert "Read-only file system" in result.err


async def test_devices_are_dockers(node: Node) -> None:
    result = await node.run("ls /dev; echo x > /dev/null; mknod /tmp/sda b 254 0 && head -c1 /tmp/sda")
    names = set(result.out.split())
    assert {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "ptmx",
        "pts",
        "shm",
        "mqueue",
        "fd",
        "stdin",
    } <= names
    assert "Operation not permitted" in result.err


async def test_a_read_only_root_refuses_writes_but_not_in_a_tmpfs(node: Node) -> None:
    mounts = (Mount(type=MountType.TMPFS, target="/tmp", tmpfs_options=TmpfsOptions(size_bytes=1 << 20)),)
    result = await node.run(
        "touch /x; touch /tmp/y && echo tmp; grep ' /tmp ' /proc/mounts", read_only=True, mounts=mounts
    )
    assert "Read-only file system" in result.err
    assert result.out.startswith("tmp\n")
    assert "size=1024k" in result.out


async def test_writes_stay_in_the_container(node: Node) -> None:
    await node.run("echo changed > /etc/group")
    result = await node.run(["cat", "/etc/group"])
    assert "nogroup" in result.out


async def test_binds_are_shared_with_the_host_unless_read_only(node: Node, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "in").write_text("hello")
    mounts = (
        Mount(type=MountType.BIND, source=str(shared), target="/rw"),
        Mount(type=MountType.BIND, source=str(shared), target="/ro", read_only=True),
    )
    result = await node.run("cat /ro/in; echo out > /rw/out; touch /ro/no", mounts=mounts)
    assert result.out == "hello\n", "a line in the log ends, as Docker has it"
    assert (shared / "out").read_text() == "out\n"
    assert "Read-only file system" in result.err


async def test_a_missing_bind_source_is_refused_or_made(node: Node, tmp_path: Path) -> None:
    source = tmp_path / "missing"
    mount = Mount(type=MountType.BIND, source=str(source), target="/x")
    with pytest.raises(Invalid, match="bind source path does not exist"):
        await node.started(node.task(["true"], mounts=(mount,)))
    made = Mount(
        type=MountType.BIND, source=str(source), target="/x", bind_options=BindOptions(create_mountpoint=True)
    )
    assert (await node.run(["true"], mounts=(made,))).code == 0
    assert source.is_dir()


async def test_a_named_volume_outlives_its_container_and_starts_with_the_images_content(node: Node) -> None:
    mount = Mount(type=MountType.VOLUME, source="data", target="/www")
    first = await node.run("ls /www/cgi-bin; echo kept > /www/note", mounts=(mount,))
    assert first.out == "client\nindex.cgi\n"
    second = await node.run(["cat", "/www/note"], mounts=(mount,))
    assert second.out == "kept\n"


async def test_an_anonymous_volume_ends_with_its_container(node: Node) -> None:
    task = node.task(["true"], mounts=(Mount(type=MountType.VOLUME, target="/data"),))
    controller = await node.started(task)
    assert len(node.containers.volumes.list()) == 1
    await controller.remove()
    assert node.containers.volumes.list() == ()


async def test_environment_working_directory_and_user_reach_the_process(node: Node) -> None:
    result = await node.run(
        "env | sort; pwd; id",
        env=("B=2", "PATH=/bin", "EMPTY="),
        dir="/new/place",
        user="65534:0",
        groups=("7",),
    )
    lines = result.out.splitlines()
    assert {"B=2", "PATH=/bin", "EMPTY=", "HOME=/", "PWD=/new/place", "/new/place"} <= set(lines)
    assert any(line.startswith("HOSTNAME=") and len(line) == 21 for line in lines)
    assert lines[-1] == "uid=65534(nobody) gid=0(root) groups=0(root),7"


async def test_an_unknown_user_is_refused(node: Node) -> None:
    with pytest.raises(Invalid, match="unable to find user ghost"):
        await node.started(node.task(["true"], user="ghost"))


async def test_ulimits_sysctls_and_hosts_are_set(node: Node) -> None:
    result = await node.run(
        "ulimit -n; ulimit -Hn; cat /proc/sys/net/core/somaxconn;"
        "grep db.internal /etc/hosts; cat /proc/self/oom_score_adj",
        ulimits=(Ulimit(name="nofile", soft=77, hard=99),),
        sysctls={"net.core.somaxconn": "321"},
        hosts=("10.1.2.3 db db.internal",),
        oom_score_adj=100,
    )
    assert result.out.splitlines() == ["77", "99", "321", "10.1.2.3\tdb db.internal", "100"]


async def test_secrets_and_configs_are_files_that_never_touch_the_disk(node: Node) -> None:
    task = node.task(
        "cat /run/secrets/key /app.conf; stat -c '%a %u' /run/secrets/key; grep /run/secrets/key /proc/mounts",
        secrets=(
            SecretReference(
                secret_id="s1", secret_name="k", file=FileTarget(name="key", uid="7", gid="7", mode=0o440)
            ),
        ),
        configs=(
            ConfigReference(config_id="c1", config_name="c", file=FileTarget(name="/app.conf", mode=0o444)),
        ),
    )
    await node.started(
        task,
        {"s1": Secret(id="s1", spec=SecretSpec(data=b"hush-hush\n"))},
        {"c1": Config(id="c1", spec=ConfigSpec(data=b"a=1\n"))},
    )
    result = await node.outcome(task)
    lines = result.out.splitlines()
    assert lines[:3] == ["hush-hush", "a=1", "440 7"]
    assert lines[3].split()[2] == "tmpfs"
    for path in node.base.rglob("*"):
        if path.is_file():
            assert b"hush-hush" not in path.read_bytes() or path.name == "log"
