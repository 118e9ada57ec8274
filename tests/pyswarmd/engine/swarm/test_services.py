"""/services over a real store: what clients send, what they read back, and what they are told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from pyswarmd.engine.app import build_app
from swarmcore.model.codec import convert_spec
from swarmcore.model.service import ServiceSpec
from tests.fakes.manager_node import ManagerNode

Client = TestClient[web.Request, web.Application]
SPEC: dict[str, Any] = {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "app:1"}}}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    node = await ManagerNode(tmp_path).begin()
    async with TestClient(TestServer(build_app(node))) as client:  # type: ignore[arg-type]
        yield client


async def told(response: Any, status: int) -> Any:
    assert response.status == status, await response.text()
    return await response.json()


async def created(client: Client, spec: dict[str, Any]) -> dict[str, Any]:
    made = await told(await client.post("/services/create", json=spec), 201)
    return dict(await told(await client.get(f"/services/{made['ID']}"), 200))


# -- fields that Docker does not know --------------------------------------------------------------
async def test_fields_that_docker_does_not_know_are_ignored_and_named_once(client: Client) -> None:
    spec = SPEC | {"Nmae": "x", "TaskTemplate": SPEC["TaskTemplate"] | {"Colour": {"deep": None}}}
    made = await told(await client.post("/services/create", json=spec), 201)
    assert made["Warnings"] == ["ignored unknown fields: TaskTemplate.Colour, Nmae"]
    held = await told(await client.get("/services/web"), 200)
    assert held["Spec"]["Name"] == "web" and "Colour" not in held["Spec"]["TaskTemplate"]


async def test_an_update_with_the_version_in_its_body_is_carried_out(client: Client) -> None:
    """dockerode puts all of its options into the query and into the body."""
    held = await created(client, SPEC)
    body = {"version": held["Version"]["Index"], **SPEC, "Labels": {"a": "b"}}
    response = await client.post(
        "/services/web/update", params={"version": held["Version"]["Index"]}, json=body
    )
    assert await told(response, 200) == {"Warnings": ["ignored unknown field: version"]}
    assert (await told(await client.get("/services/web"), 200))["Spec"]["Labels"] == {"a": "b"}


async def test_a_network_s_one_warning_names_them_too(client: Client) -> None:
    body = {"Name": "shop", "Driver": "overlay", "Colour": "red"}
    made = await told(await client.post("/networks/create", json=body), 201)
    assert "ignored unknown field: Colour" in made["Warning"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/secrets/create", {"Name": "s", "Data": "eA==", "Colour": 1}, 201),
        ("/configs/create", {"Name": "c", "Data": "eA==", "Colour": 1}, 201),
    ],
)
async def test_where_no_warning_has_a_place_they_are_ignored_all_the_same(
    client: Client, path: str, body: dict[str, Any], status: int
) -> None:
    assert (await told(await client.post(path, json=body), status))["ID"]


async def test_what_docker_knows_and_we_do_not_do_is_still_refused(client: Client) -> None:
    container = {"Image": "app:1", "Init": True}
    response = await client.post("/services/create", json={"TaskTemplate": {"ContainerSpec": container}})
    assert "an init process (Init) is not supported yet" in (await told(response, 400))["message"]


async def test_the_line_about_ignored_fields_is_short_whatever_was_sent(client: Client) -> None:
    spec = SPEC | {f"{'x' * 500}{number}": 1 for number in range(1000)}
    (warning,) = (await told(await client.post("/services/create", json=spec), 201))["Warnings"]
    assert len(warning) < 2000 and warning.endswith("and 990 more")


KNOWN = {
    *("name", "labels", "tasktemplate", "mode", "updateconfig", "rollbackconfig", "networks"),
    "endpointspec",
}
NAMES = st.text(min_size=1, max_size=20).filter(lambda name: name.lower() not in KNOWN)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@given(unknown=st.dictionaries(NAMES, JSON, min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_no_unknown_field_changes_what_is_read(unknown: dict[str, Any]) -> None:
    ignored: list[str] = []
    assert convert_spec({**unknown, **SPEC}, ServiceSpec, ignored) == convert_spec(SPEC, ServiceSpec)
    assert sorted(ignored) == sorted(unknown)


# -- queries as the newest clients send them -------------------------------------------------------
@pytest.mark.parametrize("rollback", ["", "none"])
async def test_an_update_that_is_no_rollback_says_so_in_either_way(client: Client, rollback: str) -> None:
    held = await created(client, SPEC)
    query = {"version": held["Version"]["Index"], "rollback": rollback, "registryAuthFrom": "spec"}
    response = await client.post("/services/web/update", params=query, json=SPEC | {"Labels": {"a": "b"}})
    assert await told(response, 200) == {"Warnings": None}
    assert (await told(await client.get("/services/web"), 200))["Spec"]["Labels"] == {"a": "b"}


# -- specs to the letter ---------------------------------------------------------------------------
FULL: dict[str, Any] = {
    "Name": "full",
    "Labels": {"a": "b"},
    "TaskTemplate": {
        "ContainerSpec": {"Image": "app:1", "Env": ["A=1"], "DNSConfig": {}, "Isolation": "default"},
        "Resources": {"Limits": {}, "Reservations": {}},
        "RestartPolicy": {"Condition": "any", "MaxAttempts": 0},
        "Placement": {},
        "LogDriver": {"Name": "json-file"},
        "ForceUpdate": 0,
        "Runtime": "container",
    },
    "Mode": {"Replicated": {"Replicas": 1}},
    "UpdateConfig": {
        "Parallelism": 1,
        "FailureAction": "pause",
        "MaxFailureRatio": 0,
        "Order": "stop-first",
    },
    "EndpointSpec": {"Mode": "vip"},
}
DEFAULTS: dict[str, Any] = {
    "Parallelism": 1,
    "FailureAction": "pause",
    "Monitor": 5000000000,
    "MaxFailureRatio": 0,
    "Order": "stop-first",
}


async def test_a_spec_comes_back_as_it_went_in_empty_parts_included(client: Client) -> None:
    shown = (await created(client, FULL))["Spec"]
    assert shown == FULL
    assert json.dumps(shown["UpdateConfig"]["MaxFailureRatio"]) == "0"  # as Go writes it


async def test_a_short_spec_gets_the_five_values_that_dockerd_fills_in(client: Client) -> None:
    shown = await created(client, {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "app:1"}}})
    assert shown["Spec"] == {
        "Name": "web",
        "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": {"Image": "app:1", "Isolation": "default"},
            "ForceUpdate": 0,
            "Runtime": "container",
        },
        "Mode": {"Replicated": {"Replicas": 1}},
    }
    assert shown["Endpoint"] == {"Spec": {}}


async def test_insert_defaults_tells_what_holds_where_nothing_is_said(client: Client) -> None:
    await created(client, SPEC)
    shown = (await told(await client.get("/services/web?insertDefaults=true"), 200))["Spec"]
    template = shown["TaskTemplate"]
    assert template["ContainerSpec"]["StopGracePeriod"] == 10_000_000_000
    assert template["ContainerSpec"]["DNSConfig"] == template["Resources"] == template["Placement"] == {}
    assert template["RestartPolicy"] == {"Condition": "any", "Delay": 5_000_000_000, "MaxAttempts": 0}
    assert shown["UpdateConfig"] == shown["RollbackConfig"] == DEFAULTS


async def test_insert_defaults_changes_nothing_that_was_said(client: Client) -> None:
    wanted = FULL | {"UpdateConfig": DEFAULTS | {"Parallelism": 0, "Order": "start-first"}}
    await created(client, wanted)
    shown = (await told(await client.get("/services/full?insertDefaults=1"), 200))["Spec"]
    assert shown["UpdateConfig"] == wanted["UpdateConfig"]
    assert shown["TaskTemplate"]["RestartPolicy"]["Delay"] == 5_000_000_000
    plain = (await told(await client.get("/services/full?insertDefaults=false"), 200))["Spec"]
    assert plain == wanted


async def test_an_update_that_changes_nothing_is_a_new_version(client: Client) -> None:
    before = await created(client, SPEC)
    query = {"version": before["Version"]["Index"]}
    await told(await client.post("/services/web/update", params=query, json=before["Spec"]), 200)
    after = await told(await client.get("/services/web"), 200)
    assert after["Version"]["Index"] > before["Version"]["Index"]
    assert after["Spec"] == before["Spec"]
