"""`service create` flags become the body of the API, and that body is one the daemon takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyswarmd.cli.main import build
from pyswarmd.cli.mount import mount
from pyswarmd.cli.service_spec import spec
from swarmcore.errors import Invalid, NotFound
from swarmcore.model.codec import convert_spec
from swarmcore.model.policy import FailureAction, UpdateConfig, UpdateOrder
from swarmcore.model.service import ServiceSpec
from swarmcore.text.booleans import FALSE, TRUE

EVERY_FLAG = """
    --name web --replicas 4 --replicas-max-per-node 2 --constraint node.role==worker
    --placement-pref spread=node.labels.zone -e A=1 -l tier=front --container-label a=b
    --entrypoint /bin/x -w /srv -u nobody --group audio --hostname h --host db:10.0.0.9 -t --init --read-only
    --mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777 --network host -p 8080:80/udp
    --secret s --config c --cap-add NET_ADMIN --cap-drop CHOWN --sysctl net.core.somaxconn=9
    --ulimit nofile=10:20 --oom-score-adj -5 --limit-cpu 0.5 --limit-memory 64M --limit-pids 9
    --reserve-cpu 0.1 --reserve-memory 32M --stop-signal TERM --stop-grace-period 3s
    --restart-condition any --restart-delay 0s --restart-max-attempts 0 --restart-window 1m
    --update-parallelism 0 --update-delay 1s --update-order start-first --update-failure-action rollback
    --update-monitor 20s --update-max-failure-ratio 0.25 --rollback-parallelism 2 --rollback-delay 3s
    --rollback-order stop-first --rollback-failure-action continue --rollback-monitor 1m
    --rollback-max-failure-ratio 1 --health-cmd true
    --dns 1.1.1.1 --endpoint-mode dnsrr --log-driver none --log-opt a=b
"""


def made(*words: str) -> dict[str, Any]:
    return spec(build().parse_args(["service", "create", *words]))


def container(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = made(*words, "app")["TaskTemplate"]["ContainerSpec"]
    return found


def test_a_plain_service_says_only_what_was_typed() -> None:
    assert made("--name", "web", "app") == {
        "Name": "web",
        "Labels": {},
        "TaskTemplate": {"ContainerSpec": {"Image": "app"}},
        "Mode": {"Replicated": {"Replicas": 1}},
    }


def test_words_after_the_image_belong_to_the_command() -> None:
    body = made("--name", "web", "app", "sh", "-c", "exit 3", "--name", "x")
    assert body["Name"] == "web"
    assert body["TaskTemplate"]["ContainerSpec"]["Args"] == ["sh", "-c", "exit 3", "--name", "x"]


def test_every_flag_lands_in_a_field_that_the_vocabulary_knows() -> None:
    read = convert_spec(made(*EVERY_FLAG.split(), "app"), ServiceSpec)
    task = read.task_template
    assert task.resources is not None
    assert task.resources.limits is not None
    assert (task.resources.limits.nano_cpus, task.resources.limits.memory_bytes) == (500_000_000, 64 << 20)
    assert task.container.stop_grace_period == 3 * 10**9
    assert task.container.oom_score_adj == -5
    assert task.container.hosts == ("10.0.0.9 db",)
    assert task.restart_policy is not None
    assert (task.restart_policy.delay, task.restart_policy.max_attempts) == (0, 0)
    assert task.placement is not None
    assert task.placement.max_replicas == 2
    assert read.update_config == UpdateConfig(
        parallelism=0,
        delay=10**9,
        failure_action=FailureAction.ROLLBACK,
        monitor=20 * 10**9,
        max_failure_ratio=0.25,
        order=UpdateOrder.START_FIRST,
    )
    assert read.rollback_config == UpdateConfig(
        parallelism=2,
        delay=3 * 10**9,
        failure_action=FailureAction.CONTINUE,
        monitor=60 * 10**9,
        max_failure_ratio=1.0,
        order=UpdateOrder.STOP_FIRST,
    )
    assert read.endpoint_spec is not None
    assert (read.endpoint_spec.ports[0].published_port, read.endpoint_spec.ports[0].target_port) == (8080, 80)


def test_an_update_goes_slot_by_slot_unless_another_number_is_typed() -> None:
    assert made("--update-delay", "1s", "app")["UpdateConfig"] == {"Parallelism": 1, "Delay": 10**9}
    assert made("--rollback-monitor", "1s", "app")["RollbackConfig"] == {"Parallelism": 1, "Monitor": 10**9}


@pytest.mark.parametrize(
    ("words", "mode"),
    [
        (["--replicas", "0"], {"Replicated": {"Replicas": 0}}),
        (["--mode", "global"], {"Global": {}}),
        (["--mode", "replicated-job", "--replicas", "3"], {"ReplicatedJob": {"TotalCompletions": 3}}),
        (["--mode", "global-job"], {"GlobalJob": {}}),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_modes(words: list[str], mode: dict[str, Any]) -> None:
    assert made(*words, "app")["Mode"] == mode


def test_replicas_of_a_global_service_are_refused() -> None:
    with pytest.raises(Invalid, match="replicas can only be used"):
        made("--mode", "global", "--replicas", "3", "app")


def test_env_files_come_before_the_flags_and_skip_comments(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\nA=1\n\n B=2 \n")
    assert container("--env-file", str(file), "-e", "A=3")["Env"] == ["A=1", "B=2 ", "A=3"]


def test_a_missing_env_file_is_named() -> None:
    with pytest.raises(NotFound, match="cannot read the env file /nowhere"):
        container("--env-file", "/nowhere")


def test_a_variable_without_a_value_takes_the_one_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSWARM_TEST_HERE", "x=y")
    monkeypatch.delenv("PYSWARM_TEST_NOT_HERE", raising=False)
    words = ("-e", "PYSWARM_TEST_HERE", "-e", "PYSWARM_TEST_NOT_HERE")
    assert container(*words)["Env"] == ["PYSWARM_TEST_HERE=x=y", "PYSWARM_TEST_NOT_HERE"]


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("80", (0, 80, "tcp", "ingress")),
        ("8080:80", (8080, 80, "tcp", "ingress")),
        ("53:53/udp", (53, 53, "udp", "ingress")),
        ("published=8080,target=80,mode=host", (8080, 80, "tcp", "host")),
    ],
)
def test_both_forms_of_a_published_port(text: str, port: tuple[int, int, str, str]) -> None:
    (found,) = made("-p", text, "app")["EndpointSpec"]["Ports"]
    assert (found["PublishedPort"], found["TargetPort"], found["Protocol"], found["PublishMode"]) == port


@pytest.mark.parametrize(
    "words",
    [
        ["-p", "x:80"],
        ["-p", "10.0.0.1:80:80"],
        ["-p", "published=80,targte=80"],
        ["--ulimit", "nofile"],
        ["--ulimit", "=5"],
        ["--host", "db"],
        ["--placement-pref", "node.labels.zone"],
        ["--sysctl", "a"],
        ["-e", "=x"],
        ["--limit-memory", "lots"],
        ["--stop-grace-period", "soon"],
        ["--update-monitor", "soon"],
        ["--update-max-failure-ratio", "half"],
        ["--update-max-failure-ratio", "nan"],
        ["--rollback-max-failure-ratio", "1.5"],
        ["--mount", "type=bind,src=/a"],
        ["--mount", "type=bind,src=/a,dst=/b,colour=red"],
        ["--mount", "type=tmpfs,dst=/b,tmpfs-mode=9"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused_in_one_line(words: list[str]) -> None:
    with pytest.raises(Invalid) as failed:
        made(*words, "app")
    assert "\n" not in str(failed.value)


def test_a_bind_mount() -> None:
    assert mount("type=bind,source=/a,destination=/b,ro,bind-propagation=rslave") == {
        "Type": "bind",
        "Source": "/a",
        "Target": "/b",
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rslave"},
    }


def test_a_mount_is_a_volume_that_can_be_written_unless_said_otherwise() -> None:
    assert mount("src=v,dst=/b,readonly=false") == {"Type": "volume", "Source": "v", "Target": "/b"}


@pytest.mark.parametrize("text", TRUE)
def test_a_mount_is_read_only_for_every_yes_of_go(text: str) -> None:
    for key in ("readonly", "ro"):
        assert mount(f"type=bind,src=/a,dst=/b,{key}={text}")["ReadOnly"]


@pytest.mark.parametrize("text", FALSE)
def test_a_mount_can_be_written_for_every_no_of_go(text: str) -> None:
    assert "ReadOnly" not in mount(f"type=bind,src=/a,dst=/b,readonly={text}")
    assert mount(f"src=v,dst=/b,readonly={text},ro")["ReadOnly"]  # the last one counts


@pytest.mark.parametrize("text", ["yes", "no", "on", "tRUE", "2", "", " true"])
def test_a_mount_is_refused_for_any_other_word(text: str) -> None:
    with pytest.raises(Invalid, match="for readonly"):
        mount(f"type=bind,src=/a,dst=/b,readonly={text}")


def test_a_tmpfs_mount_has_size_and_mode() -> None:
    found = mount("type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=0700")
    assert found["TmpfsOptions"] == {"SizeBytes": 64 << 20, "Mode": 0o700}
