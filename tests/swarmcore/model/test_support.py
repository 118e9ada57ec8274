"""Fields without behaviour are refused with a line each; what has behaviour passes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swarmcore.errors import Unsupported
from swarmcore.model.codec import convert_spec, decode_spec
from swarmcore.model.service import ServiceSpec
from swarmcore.model.support import check_supported, unsupported
from tests.swarmcore.model import documents


@pytest.mark.parametrize("body", [documents.CLI_CREATE, documents.OLD_CLI_CREATE, documents.DOCKER_PY_CREATE])
def test_what_has_behaviour_passes(body: bytes) -> None:
    assert list(unsupported(decode_spec(body, ServiceSpec))) == []


def container(**fields: Any) -> dict[str, Any]:
    return {"TaskTemplate": {"ContainerSpec": fields}}


def template(**fields: Any) -> dict[str, Any]:
    return {"TaskTemplate": fields}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"Mode": {"Global": {}}}, "mode global is not supported yet"),
    ({"Mode": {"ReplicatedJob": {}}}, "mode replicated-job is not supported yet"),
    ({"Mode": {"GlobalJob": {}}}, "mode global-job is not supported yet"),
    ({"Networks": [{"Target": "a", "DriverOpts": {"k": "v"}}]}, "driver options of network a"),
    (template(Networks=[{"Target": "b", "DriverOpts": {"k": "v", "l": ""}}]), "not supported yet: k, l"),
    (template(Runtime="plugin"), "only containers are supported"),
    (template(PluginSpec={"name": "p"}), "only containers are supported"),
    (template(LogDriver={"Name": "syslog"}), "log driver syslog is not supported yet"),
    (template(LogDriver={"Options": {"max-size": "1m"}}), "log options are not supported yet: max-size"),
    (template(Resources={"SwapBytes": 0}), "SwapBytes"),
    (template(Resources={"MemorySwappiness": 0}), "MemorySwappiness"),
    (template(Resources={"Reservations": {"GenericResources": [{}]}}), "generic resources"),
    (container(Init=True), "Init"),
    (container(OpenStdin=True), "OpenStdin"),
    (container(Healthcheck={"Test": ["CMD", "x"]}), "a health check is not supported yet"),
    (container(Healthcheck={"Interval": 1_000_000}), "a health check is not supported yet"),
    (container(Secrets=[{}]), "use of secrets is not supported yet"),
    (container(Configs=[{}]), "use of configs is not supported yet"),
    (container(Isolation="hyperv"), "isolation hyperv exists only on Windows"),
    (container(Mounts=[{"Type": "volume", "Target": "/v"}]), "mount /v: mounts of type volume"),
    (
        container(Mounts=[{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"Options": [["noexec"]]}}]),
        "mount /t: tmpfs options",
    ),
    (
        container(Mounts=[{"Type": "bind", "Target": "/b", "BindOptions": {"ReadOnlyForceRecursive": True}}]),
        "mount /b: ReadOnlyForceRecursive",
    ),
    (container(Privileges={"Seccomp": {"Mode": "unconfined"}}), "Privileges.Seccomp is not supported yet"),
    (container(Privileges={"AppArmor": {"Mode": "disabled"}}), "Privileges.AppArmor is not supported yet"),
    (container(Privileges={"SELinuxContext": {"Disable": True}}), "Privileges.SELinuxContext"),
    (container(Privileges={"CredentialSpec": {"File": "f"}}), "Privileges.CredentialSpec"),
]


@pytest.mark.parametrize(("spec", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_has_no_behaviour_yet_is_refused(spec: dict[str, Any], message: str) -> None:
    (line,) = unsupported(convert_spec(spec, ServiceSpec))
    assert message in line and "\n" not in line


ACCEPTED: list[dict[str, Any]] = [
    container(Init=False, Healthcheck={"Test": ["NONE"]}, Privileges={"Seccomp": {"Mode": "default"}}),
    container(Healthcheck={}, Privileges={"CredentialSpec": None, "AppArmor": {}}),
    {"UpdateConfig": {"Parallelism": 0}, "RollbackConfig": {}},
    {"UpdateConfig": {"Parallelism": 2, "Delay": 1, "FailureAction": "rollback", "Monitor": 1}},
    {"RollbackConfig": {"Order": "start-first", "MaxFailureRatio": 0.1, "FailureAction": "continue"}},
    template(Networks=[{"Target": "shop", "Aliases": ["a"]}, {"Target": "bank"}]),
    {"EndpointSpec": {"Mode": "dnsrr", "Ports": [{"TargetPort": 80, "PublishMode": "host"}]}},
    container(DNSConfig={"Nameservers": ["9.9.9.9"], "Search": ["x"], "Options": ["ndots:1"]}),
    template(LogDriver={"Name": "none"}, Resources={"Limits": None}, Runtime="container"),
]


@pytest.mark.parametrize("spec", ACCEPTED, ids=json.dumps)
def test_asking_for_what_there_is_anyway_passes(spec: dict[str, Any]) -> None:
    assert list(unsupported(convert_spec(spec, ServiceSpec))) == []


def test_everything_that_is_refused_is_said_in_one_error() -> None:
    with pytest.raises(Unsupported) as caught:
        check_supported(decode_spec(documents.FULL_SERVICE, ServiceSpec))
    assert str(caught.value).count(";") >= 17 and "\n" not in str(caught.value)
    assert caught.value.status == 400
