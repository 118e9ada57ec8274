"""The OCI config as a value: namespaces, mounts, limits, kernel settings."""

from __future__ import annotations

import pytest

from swarmcore.errors import Invalid
from swarmcore.model.container import ContainerSpec, Mount, MountType
from swarmcore.model.resources import Limit
from tests.worker.sample import plan
from worker.containers.image_defaults import process
from worker.images.oci import RunConfig
from worker.runtime.bundle import BundleInput, oci_config, resources, sysctls
from worker.runtime.users import User


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
