"""Real documents go through the model without loss, and what cannot be read is said in one line."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from swarmcore.errors import Invalid
from swarmcore.model.cluster import SwarmSpec
from swarmcore.model.codec import decode_spec
from swarmcore.model.container import Isolation, MountType
from swarmcore.model.endpoint import EndpointMode
from swarmcore.model.network import NetworkSpec
from swarmcore.model.node import Availability, NodeRole, NodeSpec
from swarmcore.model.policy import RestartCondition
from swarmcore.model.secret import ConfigSpec, SecretSpec
from swarmcore.model.service import ServiceSpec
from tests.swarmcore.model import documents

DOCUMENTS: dict[str, tuple[bytes, type[Struct]]] = {
    "full service": (documents.FULL_SERVICE, ServiceSpec),
    "node update": (documents.NODE_UPDATE, NodeSpec),
    "swarm update": (documents.SWARM_UPDATE, SwarmSpec),
    "secret": (documents.SECRET, SecretSpec),
    "config": (documents.CONFIG, ConfigSpec),
    "network": (documents.NETWORK, NetworkSpec),
}


def without_zeros(value: Any) -> Any:
    """As Go's omitempty leaves it: what is empty, zero or null says the same as what is missing."""
    if isinstance(value, dict):
        return {k: kept for k, v in value.items() if (kept := without_zeros(v)) not in ({}, [], "", 0, None)}
    if isinstance(value, list):
        return [without_zeros(item) for item in value]
    return value


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_comes_back_as_it_was(name: str) -> None:
    body, type = DOCUMENTS[name]
    spec = decode_spec(body, type)
    again = json.loads(msgspec.json.encode(spec))
    assert without_zeros(again) == without_zeros(json.loads(body))
    assert decode_spec(msgspec.json.encode(spec), type) == spec
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=type) == spec


@pytest.mark.parametrize("body", [documents.CLI_CREATE, documents.OLD_CLI_CREATE, documents.DOCKER_PY_CREATE])
def test_what_clients_send_is_read_and_kept(body: bytes) -> None:
    spec = decode_spec(body, ServiceSpec)
    assert decode_spec(msgspec.json.encode(spec), ServiceSpec) == spec
    assert spec.task_template.container.image


def test_pointers_to_zero_are_not_lost() -> None:
    """Go has pointers where 0 differs from nothing."""
    again = json.loads(msgspec.json.encode(decode_spec(documents.FULL_SERVICE, ServiceSpec)))
    template = again["TaskTemplate"]
    assert template["RestartPolicy"]["Delay"] == template["RestartPolicy"]["MaxAttempts"] == 0
    assert template["Resources"]["MemorySwappiness"] == 0
    assert template["ContainerSpec"]["StopGracePeriod"] == 0
    assert template["ContainerSpec"]["Init"] is False
    assert template["ContainerSpec"]["Configs"][1]["Runtime"] == {}


def test_the_cli_s_document_means_what_it_says() -> None:
    spec = decode_spec(documents.CLI_CREATE, ServiceSpec)
    container = spec.task_template.container
    assert spec.replicas == 3 and spec.mode.name == "replicated"
    assert container.tty and container.isolation is Isolation.DEFAULT
    assert [mount.type for mount in container.mounts] == [MountType.BIND, MountType.TMPFS]
    assert container.stop_grace_ns == 15_000_000_000
    policy = spec.task_template.restart_policy
    assert policy is not None and policy.condition is RestartCondition.ON_FAILURE and policy.max_attempts == 3
    resources = spec.task_template.resources
    assert (
        resources is not None and resources.limits is not None and resources.limits.nano_cpus == 500_000_000
    )


def test_nulls_and_empty_words_are_go_s_zero_values() -> None:
    spec = decode_spec(documents.OLD_CLI_CREATE, ServiceSpec)
    container = spec.task_template.container
    assert (spec.labels, container.env, container.mounts, container.isolation) == ({}, (), (), None)
    assert spec.task_template.runtime is None and spec.replicas == 1
    assert spec.endpoint_spec is not None and spec.endpoint_spec.mode is EndpointMode.VIP
    assert spec.task_template.restart_policy is not None
    assert spec.task_template.restart_policy.condition is RestartCondition.ANY


def test_nulls_inside_lists_and_maps_are_zero_values_too() -> None:
    body = b'{"Labels":{"a":null},"TaskTemplate":{"ContainerSpec":{"Env":[null],"Mounts":[null]}}}'
    spec = decode_spec(body, ServiceSpec)
    assert spec.labels == {"a": ""} and spec.task_template.container.env == ("",)
    assert len(spec.task_template.container.mounts) == 1


def test_names_match_in_any_case_as_in_go() -> None:
    assert decode_spec(b'{"role":"worker","AVAILABILITY":"pause"}', NodeSpec) == NodeSpec(
        role=NodeRole.WORKER, availability=Availability.PAUSE
    )


@pytest.mark.parametrize("body", [b"null", b"{}", b' {"Name": null} '])
def test_nothing_is_an_empty_spec(body: bytes) -> None:
    assert decode_spec(body, ServiceSpec) == ServiceSpec()


def test_all_unknown_fields_are_named_at_once() -> None:
    body = b'{"Replicas":1,"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Kind":"x"}],"PullOptions":{}}}}'
    with pytest.raises(Invalid) as caught:
        decode_spec(body, ServiceSpec)
    assert str(caught.value) == (
        "unknown fields in ServiceSpec: Replicas, TaskTemplate.ContainerSpec.Mounts[0].Kind, "
        "TaskTemplate.ContainerSpec.PullOptions"
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b'{"Name":', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"Name":1}', r"Expected `str`, got `int` - at `\$\.Name`"),
        (b'{"Mode":{"Replicated":{"Replicas":-1}}}', r">= 0 - at `\$\.Mode\.Replicated\.Replicas`"),
        (b'{"EndpointSpec":{"Mode":"magic"}}', "Invalid enum value 'magic'"),
        (b'{"TaskTemplate":{"ContainerSpec":{"TTY":"yes"}}}', "Expected `bool`, got `str`"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(body: bytes, says: str) -> None:
    with pytest.raises(Invalid, match=says) as caught:
        decode_spec(body, ServiceSpec)
    assert "\n" not in str(caught.value)


def test_data_that_is_not_base64_is_refused() -> None:
    with pytest.raises(Invalid, match="base64"):
        decode_spec(b'{"Name":"s","Data":"%%%"}', SecretSpec)
