"""Clients read a service, change one field and send all of it back: what they did not touch must not replace tasks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from manager.control import validate
from pyswarmd.engine.shown import objects
from swarmcore.errors import SwarmError
from swarmcore.model.codec import decode_spec
from swarmcore.model.endpoint import needs_new_tasks
from swarmcore.model.service import Service, ServiceSpec, canonical, essence
from tests.fakes.hostile import documents, encoded

BASE: dict[str, Any] = {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "app:1"}}}
# What our own command, docker's and the tests send, all at once.
USUAL: dict[str, Any] = {
    "Name": "web",
    "TaskTemplate": {
        "ContainerSpec": {"Image": "app:1", "StopGracePeriod": 10**9, "DNSConfig": {}, "Env": ["A=1"]},
        "Resources": {"Limits": {}, "Reservations": {"MemoryBytes": 1 << 25}},
        "RestartPolicy": {"Condition": "any", "Delay": 0},
        "Placement": {"Constraints": ["node.role==worker"]},
    },
    "UpdateConfig": {"Parallelism": 2, "MaxFailureRatio": 0.25},
    "EndpointSpec": {"Ports": [{"TargetPort": 80, "PublishedPort": 8080}]},
}


def read_back(spec: ServiceSpec, *, defaults: bool) -> ServiceSpec:
    shown = json.dumps(objects.service(Service(id="i", spec=spec), defaults=defaults)["Spec"])
    return canonical(decode_spec(shown.encode(), ServiceSpec))


@pytest.mark.parametrize("defaults", [False, True], ids=["as it is", "with defaults"])
def test_what_is_read_and_sent_back_asks_for_the_same_tasks(defaults: bool) -> None:
    tried = 0
    changed: list[str] = []
    given = [("usual", encoded(USUAL)), *documents(ServiceSpec, BASE), *documents(ServiceSpec, USUAL)]
    for what, body in given:
        try:
            spec = canonical(decode_spec(body, ServiceSpec, []))
            spec = replace(spec, name=spec.name or "web")
            validate.service_spec(spec)
        except SwarmError:
            continue
        tried += 1
        again = read_back(spec, defaults=defaults)
        if essence(again.task_template) != essence(spec.task_template) or needs_new_tasks(
            spec.endpoint_spec, again.endpoint_spec
        ):
            changed.append(what)
    assert changed == []
    assert tried > 600
