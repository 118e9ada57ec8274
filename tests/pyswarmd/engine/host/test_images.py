"""/images over a real store: lists and their filters, what inspect shows, loads and imports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pyswarmd.engine.app import build_app
from tests.fakes.manager_node import ManagerNode
from tests.worker.images.archives import config, folder, member, saved, tar, written

pytestmark = pytest.mark.root

Client = TestClient[web.Request, web.Application]
OLD, NEW = tar(folder("bin"), member("bin/sh", b"old")), tar(folder("bin"), member("bin/sh", b"new"))
HEALTH = {"Test": ["CMD", "true"], "Interval": 5_000_000_000, "Retries": 2}
CONFIG = {"Cmd": ["run"], "Healthcheck": HEALTH, "Labels": {"tier": "front"}, "Shell": ["/bin/sh"], "Odd": 1}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """`old:1` and `other:2` are one image of 2024, `shop/new:1` one of 2025 with labels, one image has no name."""
    node = await ManagerNode(tmp_path).begin()
    new = config([NEW], created="2025-01-01T00:00:00Z", config=CONFIG, docker_version="9.9")
    bare = config([NEW], created="2023-01-01T00:00:00Z")
    for name, archive in (
        ("old", saved([OLD], ["old:1", "other:2"])),
        ("new", saved([NEW], ["shop/new:1"], raw_config=new)),
        ("bare", saved([NEW], [], raw_config=bare)),
    ):
        await node.images.load(written(tmp_path / name, archive))
    async with TestClient(TestServer(build_app(node))) as client:  # type: ignore[arg-type]
        yield client


async def listed(client: Client, prefix: str = "", **query: str) -> list[Any]:
    response = await client.get(f"{prefix}/images/json", params=query)
    assert response.status == 200, await response.text()
    return sorted(image["RepoTags"] for image in await response.json())


NONE, OLD_NAMES, NEW_NAMES = ["<none>:<none>"], ["old:1", "other:2"], ["shop/new:1"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [NONE, OLD_NAMES, NEW_NAMES]),
        ({"reference": ["old"]}, [["old:1"]]),
        ({"reference": ["old:1"]}, [["old:1"]]),
        ({"reference": ["old:2"]}, []),
        ({"reference": ["o*"]}, [OLD_NAMES]),
        ({"reference": ["new"]}, []),
        ({"reference": ["*"]}, [OLD_NAMES]),  # a star stops at a slash
        ({"reference": ["*/new", "other"]}, [["other:2"], NEW_NAMES]),
        ({"dangling": {"true": True}}, [NONE]),
        ({"dangling": ["0"]}, [OLD_NAMES, NEW_NAMES]),
        ({"label": ["tier"]}, [NEW_NAMES]),
        ({"label": ["tier=front"]}, [NEW_NAMES]),
        ({"label": ["tier=back"]}, []),
        ({"before": ["shop/new:1"]}, [NONE, OLD_NAMES]),
        ({"since": ["old:1"]}, [NEW_NAMES]),
        ({"since": ["old:1"], "before": ["shop/new:1"]}, []),
        ({"until": ["2023-06-01T00:00:00Z"]}, [NONE]),
    ],
    ids=lambda v: json.dumps(v) if isinstance(v, dict) else "",
)
async def test_a_list_shows_the_images_and_the_names_that_were_asked_for(
    client: Client, wanted: Any, found: list[Any]
) -> None:
    assert await listed(client, filters=json.dumps(wanted)) == sorted(found)


async def test_the_old_query_for_a_name_counts_in_old_versions_alone(client: Client) -> None:
    assert await listed(client, "/v1.24", filter="other") == [["other:2"]]
    assert len(await listed(client, filter="other")) == 3


@pytest.mark.parametrize(
    ("wanted", "status"),
    [({"before": ["nope"]}, 404), ({"dangling": ["maybe"]}, 400), ({"colour": ["red"]}, 400)],
    ids=json.dumps,
)
async def test_a_filter_that_makes_no_sense_is_refused(client: Client, wanted: Any, status: int) -> None:
    response = await client.get("/images/json", params={"filters": json.dumps(wanted)})
    assert response.status == status


async def test_inspect_shows_every_key_of_a_configuration_set_or_not(client: Client) -> None:
    plain = (await (await client.get("/images/old:1/json")).json())["Config"]
    assert plain["Cmd"] == ["run"]
    for key in ("Env", "Entrypoint", "Volumes", "OnBuild", "Labels"):
        assert plain[key] is None
    for key in ("Hostname", "User", "WorkingDir", "Image"):
        assert plain[key] == ""
    assert plain["Tty"] is plain["OpenStdin"] is False
    assert "Healthcheck" not in plain and "ExposedPorts" not in plain


async def test_inspect_shows_what_the_image_says_whole(client: Client) -> None:
    shown = await (await client.get("/images/shop/new:1/json")).json()
    assert shown["Config"]["Healthcheck"] == HEALTH
    assert shown["Config"]["Shell"] == ["/bin/sh"]
    assert "Odd" not in shown["Config"]
    assert (shown["DockerVersion"], shown["Container"], shown["GraphDriver"]["Name"]) == (
        "9.9",
        "",
        "overlayfs",
    )
    assert shown["ContainerConfig"]["Cmd"] is None


async def test_what_is_no_archive_is_an_error_in_the_stream(client: Client) -> None:
    """As Docker: the answer has begun when the archive is looked at."""
    response = await client.post("/images/load", data=b"garbage" * 100)
    assert response.status == 200
    (line,) = (await response.text()).splitlines()
    assert json.loads(line)["error"] == json.loads(line)["errorDetail"]["message"]
    assert "this is no image archive" in json.loads(line)["error"]


async def test_an_import_makes_all_of_its_changes_and_shows_its_message(client: Client) -> None:
    query = [("fromSrc", "-"), ("repo", "made"), ("changes", 'CMD ["/a"]'), ("changes", "ENV A=1")]
    response = await client.post("/images/create", params=[*query, ("message", "by hand")], data=OLD)
    assert response.status == 200, await response.text()
    shown = await (await client.get("/images/made/json")).json()
    assert (shown["Config"]["Cmd"], shown["Config"]["Env"]) == (["/a"], ["A=1"])
    assert shown["Comment"] == "by hand"


async def test_an_upload_has_no_name_on_the_disk(client: Client, tmp_path: Path) -> None:
    """A daemon that is killed in the middle of it leaves nothing behind."""
    archive, seen = saved([OLD], ["up:1"]), []

    async def body() -> AsyncIterator[bytes]:
        yield archive[:1000]
        while not (folders := list(tmp_path.rglob("upload"))):
            await asyncio.sleep(0)
        seen.extend([folders, list(folders[0].iterdir())])
        yield archive[1000:]

    response = await client.post("/images/load", data=body())
    assert "Loaded image: up:1" in await response.text()
    assert len(seen[0]) == 1 and seen[1] == []


async def test_a_load_tells_the_names_of_its_own_archive_or_the_id(client: Client) -> None:
    for names, told in ((["more:1"], "Loaded image: more:1\\n"), ([], "Loaded image ID: sha256:")):
        text = await (await client.post("/images/load", data=saved([OLD], names))).text()
        assert told in text and text.count("Loaded") == 1
