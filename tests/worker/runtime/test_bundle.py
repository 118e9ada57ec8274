"""The OCI config as a value: command, environment, mounts, limits, users, capabilities, seccomp."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from swarmcore.errors import Invalid
from swarmcore.model.container import ContainerSpec, DNSConfig, Mount, MountType
from swarmcore.model.linux import CAPABILITIES, DEFAULT_CAPABILITIES
from swarmcore.model.resources import Limit
from swarmcore.model.task import Task, TaskSpec
from worker.containers.image_defaults import command, environment, process, stop_signal
from worker.containers.plan import ContainerPlan
from worker.images.oci import RunConfig
from worker.networks.resolv_conf import resolv_conf
from worker.runtime import capabilities, seccomp
from worker.runtime.bundle import BundleInput, oci_config, resources, sysctls
from worker.runtime.users import User, look_up
from worker.tasks.container_plan import container_plan

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/sh\nbroken\n"
GROUP = "root:x:0:\nweb:x:34:\nlogs:x:50:web,other\n"


def plan(spec: ContainerSpec) -> ContainerPlan:
    """That of a task with this spec."""
    named = replace(spec, image=spec.image or "i")
    return container_plan(Task(id="t1", spec=TaskSpec(container_spec=named)))


def given(spec: ContainerSpec | None = None, *, host_network: bool = False) -> BundleInput:
    planned = plan(spec or ContainerSpec(image="i", args=("true",)))
    return BundleInput(
        container_id="c1",
        hostname="h",
        process=process(planned, RunConfig(), "h", User()),
        confinement=planned.confinement,
        mounts=planned.mounts,
        rootfs="/r",
        cgroup_path="/p/c1",
        architecture="amd64",
        host_network=host_network,
        etc_files={"/etc/hosts": "/s/hosts"},
        private_files={"/run/secrets/k": "/t/0"},
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (ContainerSpec(), ["run", "me"]),
        (ContainerSpec(args=("x",)), ["run", "x"]),
        (ContainerSpec(command=("own",)), ["own"]),
        (ContainerSpec(command=("own",), args=("x", "y")), ["own", "x", "y"]),
    ],
    ids=["image", "arguments replace", "entrypoint drops the image's arguments", "both"],
)
def test_the_command_follows_dockers_rules(spec: ContainerSpec, expected: list[str]) -> None:
    assert command(plan(spec), RunConfig(entrypoint=("run",), cmd=("me",))) == expected


def test_an_empty_command_takes_the_image_s_entrypoint_and_arguments_away() -> None:
    image = RunConfig(entrypoint=("run",), cmd=("me",))
    assert command(plan(ContainerSpec(command=("",), args=("x",))), image) == ["x"]
    with pytest.raises(Invalid, match="no command specified"):
        command(plan(ContainerSpec(command=("",))), image)


def test_no_command_at_all_is_refused() -> None:
    with pytest.raises(Invalid, match="no command specified"):
        command(plan(ContainerSpec(image="empty")), RunConfig())


def test_the_specs_environment_replaces_the_images() -> None:
    found = environment(
        plan(ContainerSpec(env=("A=2", "B=", "GONE"), tty=True)),
        RunConfig(env=("A=1", "GONE=x", "PATH=/p")),
        "h",
        "/root",
    )
    assert found == ["PATH=/p", "HOSTNAME=h", "TERM=xterm", "A=2", "B=", "HOME=/root"]


def test_a_container_has_its_own_namespaces_but_shares_the_hosts_network_on_request() -> None:
    own = {entry["type"] for entry in oci_config(given())["linux"]["namespaces"]}
    shared = {entry["type"] for entry in oci_config(given(host_network=True))["linux"]["namespaces"]}
    assert own == {"pid", "mount", "ipc", "uts", "cgroup", "network"}
    assert own - shared == {"network"}


def test_a_mount_of_the_user_replaces_the_default_of_the_same_place() -> None:
    spec = ContainerSpec(
        image="i",
        args=("true",),
        mounts=(
            Mount(type=MountType.TMPFS, target="/dev/shm/deep"),
            Mount(type=MountType.TMPFS, target="/dev/shm/"),
            Mount(type=MountType.BIND, source="/h", target="/etc/hosts", read_only=True),
        ),
    )
    listed = oci_config(given(spec))["mounts"]
    targets = [entry["destination"] for entry in listed]
    assert len(targets) == len(set(targets))
    assert targets.index("/dev/shm") < targets.index("/dev/shm/deep")
    assert next(entry for entry in listed if entry["destination"] == "/etc/hosts")["options"][-1] == "ro"
    assert next(entry for entry in listed if entry["destination"] == "/run/secrets/k")["options"][-1] == "ro"


@pytest.mark.parametrize("target", ["relative", "/", "/a/../..", ""])
def test_a_bad_mount_target_is_refused(target: str) -> None:
    with pytest.raises(Invalid, match="invalid mount target"):
        oci_config(
            given(ContainerSpec(image="i", args=("x",), mounts=(Mount(type=MountType.TMPFS, target=target),)))
        )


def test_limits_become_cgroup_values() -> None:
    limits = Limit(nano_cpus=1_500_000_000, memory_bytes=64 << 20, pids=9)
    found = resources(limits)
    assert found["cpu"] == {"quota": 150_000, "period": 100_000}
    least = resources(Limit(nano_cpus=1_000_000))
    assert least["cpu"] == {"quota": 1000, "period": 1_000_000}  # the kernel takes no quota below 1,000
    assert found["memory"] == {"limit": 64 << 20}
    assert found["pids"] == {"limit": 9}
    assert resources(Limit()).keys() == {"devices"}
    assert found["devices"][0] == {"allow": False, "access": "rwm"}


def test_network_sysctls_are_refused_on_the_hosts_network() -> None:
    spec = ContainerSpec(sysctls={"net.core.somaxconn": "1"})
    assert sysctls(spec.sysctls, host_network=False)["net.core.somaxconn"] == "1"
    with pytest.raises(Invalid, match=r"net\.core\.somaxconn"):
        sysctls(spec.sysctls, host_network=True)


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 15), ("SIGUSR1", 10), ("int", 2), ("9", 9), ("SIGRTMIN+3", signal.SIGRTMIN + 3)],
)
def test_stop_signals_are_read_as_docker_reads_them(text: str, number: int) -> None:
    assert int(stop_signal(plan(ContainerSpec(stop_signal=text)), RunConfig())) == number


@pytest.mark.parametrize("text", ["SIGNOPE", "0", "99", "RTMIN+99"])
def test_unknown_stop_signals_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid stop signal"):
        stop_signal(plan(ContainerSpec(stop_signal=text)), RunConfig())


def test_the_images_stop_signal_counts_where_the_spec_has_none() -> None:
    assert int(stop_signal(plan(ContainerSpec()), RunConfig(stop_signal="SIGQUIT"))) == 3


@pytest.mark.parametrize(
    ("wanted", "groups", "expected"),
    [
        ("", (), User(uid=0, gid=0, groups=(0,), home="/root")),
        ("web", (), User(uid=33, gid=34, groups=(34, 50), home="/srv")),
        ("33", (), User(uid=33, gid=34, groups=(34, 50), home="/srv")),
        ("web:root", (), User(uid=33, gid=0, groups=(0,), home="/srv")),
        ("1000:1001", ("logs", "7"), User(uid=1000, gid=1001, groups=(7, 50, 1001), home="/")),
        ("1000", (), User(uid=1000, gid=0, groups=(0,), home="/")),
    ],
)
def test_users_are_looked_up_in_the_image(wanted: str, groups: tuple[str, ...], expected: User) -> None:
    assert look_up(wanted, groups, PASSWD, GROUP) == expected


@pytest.mark.parametrize("wanted", ["ghost", "web:ghosts", "99999999999"])
def test_unknown_users_and_groups_are_refused(wanted: str) -> None:
    with pytest.raises(Invalid, match="unable to find"):
        look_up(wanted, (), PASSWD, GROUP)


def test_capabilities_are_added_and_dropped_in_any_spelling() -> None:
    assert len(DEFAULT_CAPABILITIES) == 14
    assert capabilities.effective(("net_admin",), ("CAP_MKNOD",)) == DEFAULT_CAPABILITIES - {"CAP_MKNOD"} | {
        "CAP_NET_ADMIN"
    }
    assert capabilities.effective((), ("ALL",)) == frozenset()
    assert capabilities.effective(("CHOWN",), ("all",)) == {"CAP_CHOWN"}
    assert "CAP_SYS_ADMIN" in capabilities.effective(("ALL",), ())
    with pytest.raises(Invalid, match="unknown capability CAP_FLY"):
        capabilities.effective(("fly",), ())


def test_everything_means_everything_that_the_host_has() -> None:
    host = CAPABILITIES - {"CAP_CHECKPOINT_RESTORE", "CAP_MKNOD"}
    assert capabilities.effective(("ALL",), (), host) == host
    assert capabilities.effective((), (), host) == DEFAULT_CAPABILITIES - {"CAP_MKNOD"}
    with pytest.raises(Invalid, match="this host does not have the capability CAP_MKNOD"):
        capabilities.effective(("MKNOD",), (), host)


def test_the_host_says_what_it_has(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapBnd:\t00000000a80425fb\n")  # what Docker gives to a container of its own
    assert capabilities.of_host(status) == DEFAULT_CAPABILITIES
    assert capabilities.named_in((1 << 41) - 1) == CAPABILITIES
    assert capabilities.named_in(1 << 63) == frozenset()  # a newer kernel's


def _actions(profile: dict[str, object]) -> dict[str, str]:
    rules = profile["syscalls"]
    assert isinstance(rules, list)
    return {name: rule["action"] for rule in rules for name in rule["names"] if "args" not in rule}


def test_dangerous_calls_need_their_capability() -> None:
    without = _actions(seccomp.profile(DEFAULT_CAPABILITIES, "amd64"))
    for name in (
        "mount",
        "umount2",
        "unshare",
        "setns",
        "bpf",
        "keyctl",
        "kexec_load",
        "init_module",
        "reboot",
    ):
        assert without[name] == "SCMP_ACT_ERRNO", name
    for name in ("read", "chroot", "execve", "ptrace", "arch_prctl"):
        assert without[name] == "SCMP_ACT_ALLOW", name
    admin = _actions(seccomp.profile(DEFAULT_CAPABILITIES | {"CAP_SYS_ADMIN"}, "amd64"))
    assert admin["mount"] == admin["clone3"] == "SCMP_ACT_ALLOW"
    assert admin["keyctl"] == "SCMP_ACT_ERRNO"


def test_no_call_is_both_allowed_and_refused() -> None:
    for caps in (frozenset[str](), DEFAULT_CAPABILITIES, capabilities.effective(("ALL",), ())):
        rules = seccomp.profile(caps, "amd64")["syscalls"]
        plain = [name for rule in rules if "args" not in rule for name in rule["names"]]
        assert len(plain) == len(set(plain))


def test_resolv_conf_keeps_what_the_spec_leaves_open() -> None:
    host = "# made by the host\nnameserver 1.1.1.1\nsearch lan\noptions ndots:1\n"
    assert resolv_conf(None, host) == "nameserver 1.1.1.1\nsearch lan\noptions ndots:1\n"
    own = resolv_conf(DNSConfig(nameservers=("9.9.9.9", "8.8.8.8"), search=("a", "b")), host)
    assert own == "options ndots:1\nnameserver 9.9.9.9\nnameserver 8.8.8.8\nsearch a b\n"
