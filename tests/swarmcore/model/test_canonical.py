"""A spec is stored as it came; one that says little asks for the same as with Docker's values spelt out."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from swarmcore.model.codec import convert_spec, decode_spec
from swarmcore.model.endpoint import EndpointSpec
from swarmcore.model.service import ServiceSpec, canonical, essence

SHORT = b'{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"app:1"}}}'


@pytest.mark.parametrize(
    "text",
    [
        SHORT,
        b'{"Name":"web","Mode":{},"TaskTemplate":{"ContainerSpec":{"Image":"app:1"},"ForceUpdate":0}}',
        b'{"Name":"web","Mode":{"Replicated":{}},"EndpointSpec":{},"TaskTemplate":{"ContainerSpec":{"Image":"app:1"}}}',
        b'{"Name":"web","Mode":{"Replicated":{"Replicas":1}},"EndpointSpec":{"Mode":"vip"},'
        b'"TaskTemplate":{"ContainerSpec":{"Image":"app:1","Isolation":"default"},"Runtime":"container"}}',
        b'{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"app:1"},"Placement":{"Constraints":[]},'
        b'"Resources":{"Limits":{},"Reservations":{"NanoCPUs":0}}}}',
    ],
)
def test_all_forms_ask_for_one_thing(text: bytes) -> None:
    spec, short = canonical(decode_spec(text, ServiceSpec)), canonical(decode_spec(SHORT, ServiceSpec))
    assert essence(spec.task_template) == essence(short.task_template)
    assert (spec.mode, spec.networks) == (short.mode, short.networks)
    assert (spec.endpoint_spec or EndpointSpec()) == EndpointSpec()


def test_what_is_asked_for_stays() -> None:
    text = b'{"TaskTemplate":{"Placement":{"MaxReplicas":1},"Resources":{"Limits":{"Pids":5},"Reservations":{}}}}'
    template = essence(decode_spec(text, ServiceSpec).task_template)
    assert template.placement is not None and template.placement.max_replicas == 1
    assert template.resources is not None and template.resources.limits is not None
    assert (template.resources.limits.pids, template.resources.reservations) == (5, None)


@pytest.mark.parametrize(
    "template",
    [
        {"Placement": {}},
        {"Resources": {}},
        {"Resources": {"Limits": {}}},
        {"Resources": {"Limits": {}, "Reservations": {}}},
        {"RestartPolicy": {"Condition": "any"}},
        {"ContainerSpec": {"DNSConfig": {}, "Healthcheck": {}, "Isolation": "default"}},
    ],
    ids=json.dumps,
)
def test_empty_parts_come_back_as_they_were_sent(template: dict[str, Any]) -> None:
    spec = canonical(convert_spec({"TaskTemplate": template}, ServiceSpec))
    held = json.loads(msgspec.json.encode(spec))["TaskTemplate"]
    assert {name: held[name] for name in template} == template


def test_reading_and_sending_back_changes_nothing() -> None:
    spec = canonical(decode_spec(SHORT, ServiceSpec))
    assert canonical(decode_spec(msgspec.json.encode(spec), ServiceSpec)) == spec


def test_networks_of_the_old_place_move_to_the_template() -> None:
    old = canonical(decode_spec(b'{"Networks":[{"Target":"shop"}]}', ServiceSpec))
    new = b'{"TaskTemplate":{"Networks":[{"Target":"shop"}]}}'
    assert old == canonical(decode_spec(new, ServiceSpec))
    both = b'{"TaskTemplate":{"Networks":[{"Target":"shop"}]},"Networks":[{"Target":"shop"}]}'
    assert old == canonical(decode_spec(both, ServiceSpec))
    assert [network.target for network in old.task_template.networks] == ["shop"]


def test_networks_that_differ_between_the_places_are_kept_for_the_user_to_see() -> None:
    text = b'{"TaskTemplate":{"Networks":[{"Target":"shop"}]},"Networks":[{"Target":"bank"}]}'
    spec = canonical(decode_spec(text, ServiceSpec))
    assert spec.networks != spec.task_template.networks
