"""The client of the Engine API: names stay names on their way, whatever they hold."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from pyswarmd.cli.main import build
from pyswarmd.client import EngineClient, at
from swarmcore.errors import Invalid, NotFound
from tests.fakes.engine import engine

NAMES = (
    "a/../b",
    "..",
    ".",
    "...",
    "a b",
    "?x",
    "#x",
    "%2e%2e",
    "%",
    "a%2Fb",
    "ä",
    "😀",
    "\0",
    "a:b@c",
    ";,+&=",
    "//",
    "a/",
)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}!"), min_size=1, max_size=20)


async def _echo(request: web.Request) -> web.Response:
    return web.json_response({"ID": request.match_info["id"], "Query": dict(request.query)})


async def arrives(*names: str) -> list[Any]:
    """What the daemon's routes take each name for."""
    app = web.Application()
    app.router.add_get("/v1.41/services/{id}/logs", _echo)
    app.router.add_get("/v1.41/images/{id:[^!]+}/logs", _echo)
    async with TestServer(app) as server, EngineClient(f"tcp://127.0.0.1:{server.port}") as client:
        return [
            (await client.get(at(kind, name, "logs"), query="a&b=c"))["ID"]
            for kind in ("services", "images")
            for name in names
        ]


async def test_a_name_arrives_as_it_is() -> None:
    assert await arrives(*NAMES) == [*NAMES, *NAMES]


@given(st.lists(TEXT, max_size=10))
@settings(max_examples=30, deadline=None)
def test_any_name_arrives_as_it_is(names: list[str]) -> None:
    with asyncio.Runner() as runner:
        assert runner.run(arrives(*names)) == [*names, *names]


@pytest.mark.parametrize("kind", ["service", "node", "network", "image", "task"])
def test_an_empty_name_is_refused_before_anybody_is_asked(kind: str) -> None:
    with pytest.raises(Invalid, match=f"invalid {kind} name or ID: value is empty"):
        at(f"{kind}s", "")


async def _run(*words: str) -> None:
    options = build().parse_args(words)
    async with engine({"GET /services/b": {"ID": "b", "Spec": {}}, "GET /nodes/b": {"ID": "b"}}) as (
        _,
        client,
    ):
        await options.run(client, options)


@pytest.mark.parametrize(
    "words",
    [
        ("service", "logs"),
        ("service", "ps"),
        ("service", "inspect"),
        ("service", "update"),
        ("service", "rollback"),
        ("node", "inspect"),
        ("node", "ps"),
        ("node", "update", "--availability", "drain"),
        ("node", "promote"),
        ("node", "demote"),
        ("node", "rm"),
        ("network", "inspect"),
        ("network", "check"),
        ("network", "connect", "-"),
        ("image", "rm"),
    ],
    ids=" ".join,
)
async def test_commands_refuse_an_empty_name_and_do_not_find_another(words: tuple[str, ...]) -> None:
    names = [*words[:2], *(word for word in words[2:] if word != "-")]
    more = ["container"] if "-" in words else []
    with pytest.raises(Invalid, match="value is empty"):
        await _run(*names, "", *more)
    with pytest.raises(NotFound):
        await _run(*names, "a/../b", *more)
