"""The plan of a task's container: everything that the task says is in it, and nothing of how far the task is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from swarmcore.errors import Invalid, NotFound
from swarmcore.model.base import Annotations, Driver
from swarmcore.model.container import (
    ConfigReference,
    ContainerSpec,
    DNSConfig,
    FileTarget,
    HealthConfig,
    Mount,
    Privileges,
    RuntimeTarget,
    SeccompMode,
    SeccompOptions,
    SecretReference,
    Ulimit,
)
from swarmcore.model.network import NetworkAttachment
from swarmcore.model.overlay import endpoint_mac
from swarmcore.model.resources import Limit, ResourceRequirements
from swarmcore.model.secret import Config, ConfigSpec, Secret, SecretSpec
from swarmcore.model.task import Task, TaskSpec, TaskState, TaskStatus
from worker.containers.plan import PlannedFile
from worker.tasks.container_plan import container_plan, planned_files

IMAGE = "app:1"
#: A value for each field of a container spec that a container is made of.
SAID: dict[str, Any] = {
    "image": "other:2",
    "command": ("run",),
    "args": ("me",),
    "hostname": "h",
    "env": ("A=1",),
    "dir": "/d",
    "user": "web",
    "groups": ("7",),
    "privileges": Privileges(no_new_privileges=True),
    "init": True,
    "stop_signal": "SIGUSR1",
    "tty": True,
    "read_only": True,
    "mounts": (Mount(target="/data"),),
    "stop_grace_period": 5,
    "healthcheck": HealthConfig(test=("CMD", "true")),
    "hosts": ("10.0.0.1 db",),
    "dns_config": DNSConfig(search=("lan",)),
    "sysctls": {"net.core.somaxconn": "9"},
    "capability_add": ("SYS_ADMIN",),
    "capability_drop": ("ALL",),
    "ulimits": (Ulimit(name="nofile", soft=1, hard=2),),
    "oom_score_adj": 5,
}
# Secrets and configs come as files; the others have no behaviour here, or are refused at the managers' door.
ELSEWHERE = {"secrets", "configs", "labels", "open_stdin", "isolation", "pull_options"}


def task(**container: Any) -> Task:
    spec = ContainerSpec(**{"image": IMAGE, **container})
    return Task(id="t1", spec=TaskSpec(container_spec=spec), service_annotations=Annotations(name="web"))


def test_every_field_of_a_spec_is_known_here() -> None:
    assert {field.name for field in fields(ContainerSpec)} == SAID.keys() | ELSEWHERE


@pytest.mark.parametrize("field", sorted(SAID))
def test_no_field_of_a_spec_is_lost(field: str) -> None:
    assert container_plan(task(**{field: SAID[field]})) != container_plan(task())


def test_a_plan_names_its_task_only_by_labels_that_mean_nothing_below() -> None:
    plan = container_plan(replace(task(), slot=3))
    assert (plan.owner, plan.name) == ("t1", "web.3.t1")
    assert (plan.networks.owner, plan.networks.name) == ("t1", "web.3.t1")


def test_limits_filter_and_log_driver_reach_the_plan() -> None:
    limits = Limit(memory_bytes=5)
    unconfined = Privileges(seccomp=SeccompOptions(mode=SeccompMode.UNCONFINED))
    made = task(privileges=unconfined)
    spec = replace(made.spec, resources=ResourceRequirements(limits=limits), log_driver=Driver(name="none"))
    plan = container_plan(replace(made, spec=spec))
    assert plan.confinement.limits == limits
    assert plan.confinement.seccomp is SeccompMode.UNCONFINED
    assert plan.log_driver == "none"
    own = container_plan(replace(made, spec=spec, log_driver=Driver(name="json-file")))
    assert own.log_driver == "json-file", "the task's counts before the service's"


def test_a_task_without_an_image_is_refused() -> None:
    with pytest.raises(Invalid, match="the task names no image"):
        container_plan(task(image=""))


@given(
    state=st.sampled_from(TaskState),
    desired=st.sampled_from(TaskState),
    message=st.text(),
    networks=st.lists(st.sampled_from(["a", "b", "c"]), unique=True),
)
def test_how_far_a_task_is_changes_nothing_of_its_container(
    state: TaskState, desired: TaskState, message: str, networks: list[str]
) -> None:
    on = tuple(NetworkAttachment(network_id=each, addresses=("10.0.0.5/24",)) for each in networks)
    made = replace(task(env=("A=1",)), networks_attachments=on)
    status = TaskStatus(state=state, message=message)
    assert container_plan(replace(made, status=status, desired_state=desired)) == container_plan(made)
    endpoints = container_plan(made).networks.endpoints
    assert [(e.network_id, e.mac) for e in endpoints] == [
        (each, endpoint_mac("t1", each)) for each in networks
    ]


names = st.from_regex(r"/?[a-z]{1,8}", fullmatch=True)
numbers = st.integers(0, 2**31 - 1)


@given(
    given_files=st.lists(
        st.tuples(names, numbers, numbers, st.integers(0, 0o7777), st.binary(max_size=9), st.booleans())
    )
)
def test_each_secret_and_config_becomes_a_file_with_its_content(
    given_files: list[tuple[str, int, int, int, bytes, bool]],
) -> None:
    secrets, configs = {}, {}
    secret_references, config_references, expected_secrets, expected_configs = [], [], [], []
    for number, (name, uid, gid, mode, content, is_secret) in enumerate(given_files):
        key = f"x{number}"
        file = FileTarget(name=name, uid=str(uid), gid=str(gid), mode=mode)
        folder = "/run/secrets" if is_secret else ""
        target = name if name.startswith("/") else f"{folder}/{name}"
        expected = PlannedFile(target=target, content=content, uid=uid, gid=gid, mode=mode)
        if is_secret:
            secrets[key] = Secret(id=key, spec=SecretSpec(data=content))
            secret_references.append(SecretReference(secret_id=key, secret_name=key, file=file))
            expected_secrets.append(expected)
        else:
            configs[key] = Config(id=key, spec=ConfigSpec(data=content))
            config_references.append(ConfigReference(config_id=key, config_name=key, file=file))
            expected_configs.append(expected)
    spec = ContainerSpec(secrets=tuple(secret_references), configs=tuple(config_references))
    assert planned_files(spec, secrets, configs) == (*expected_secrets, *expected_configs)


def test_what_did_not_come_and_what_is_no_number_is_named() -> None:
    key = SecretReference(secret_id="s", secret_name="key", file=FileTarget(name="key", uid="root"))
    with pytest.raises(NotFound, match="secret key did not come with the task"):
        planned_files(ContainerSpec(secrets=(key,)), {}, {})
    with pytest.raises(Invalid, match="secret key has the invalid UID 'root'"):
        planned_files(ContainerSpec(secrets=(key,)), {"s": Secret(id="s")}, {})
    conf = ConfigReference(config_id="c", config_name="conf", file=FileTarget(name="/c"))
    with pytest.raises(NotFound, match="config conf did not come with the task"):
        planned_files(ContainerSpec(configs=(conf,)), {}, {})


def test_a_config_for_the_runtime_is_no_file() -> None:
    reference = ConfigReference(config_id="c", config_name="conf", runtime=RuntimeTarget())
    assert planned_files(ContainerSpec(configs=(reference,)), {}, {"c": Config(id="c")}) == ()


def test_a_plan_does_not_show_what_its_files_hold() -> None:
    plan = container_plan(task(), (PlannedFile(target="/run/secrets/key", content=b"hush"),))
    assert "hush" not in repr(plan)
