"""A spec that says little and the same spec with Docker's values spelt out are one spec."""

from __future__ import annotations

import msgspec
import pytest

from swarmcore.model.codec import decode_spec
from swarmcore.model.service import ServiceSpec, canonical

SHORT = b'{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"app:1"}}}'


@pytest.mark.parametrize(
    "text",
    [
        SHORT,
        b'{"Name":"web","Mode":{},"TaskTemplate":{"ContainerSpec":{"Image":"app:1"},"ForceUpdate":0}}',
        b'{"Name":"web","Mode":{"Replicated":{}},"EndpointSpec":{},"TaskTemplate":{"ContainerSpec":{"Image":"app:1"}}}',
        b'{"Name":"web","Mode":{"Replicated":{"Replicas":1}},"EndpointSpec":{"Mode":"vip"},'
        b'"TaskTemplate":{"ContainerSpec":{"Image":"app:1","Isolation":"default"},"Runtime":"container"}}',
    ],
)
def test_all_forms_are_one(text: bytes) -> None:
    assert canonical(decode_spec(text, ServiceSpec)) == canonical(decode_spec(SHORT, ServiceSpec))


def test_reading_and_sending_back_changes_nothing() -> None:
    spec = canonical(decode_spec(SHORT, ServiceSpec))
    assert canonical(decode_spec(msgspec.json.encode(spec), ServiceSpec)) == spec
