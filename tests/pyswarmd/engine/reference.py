"""What dockerd answers, as shapes: which fields there are and of which type.

`python -m tests.pyswarmd.engine.reference SOCKET` asks a dockerd that leads a swarm of its own and writes
`reference.json`; the tests ask us the same and compare. Recorded with dockerd 20.10.24 (API 1.41).
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from tests.worker.images.archives import config, folder, member, saved, tar

RECORDED = Path(__file__).with_name("reference.json")
Shape = dict[str, str]
# Method, path, body (JSON or bytes), query: status, answer.
Ask = Callable[[str, str, Any], Awaitable[tuple[int, Any]]]

_LAYER = tar(folder("bin"), member("bin/sh", b"shell"))
ARCHIVE = saved([_LAYER], ["ref/app:1"], raw_config=config([_LAYER], config={"Cmd": ["run"]}))
_PORTS = [{"TargetPort": 8000, "PublishedPort": 38088}]
SHORT = {"Name": "ref-short", "TaskTemplate": {"ContainerSpec": {"Image": "ref/app:1"}}}
FULL = {
    "Name": "ref-full",
    "Labels": {"a": "b"},
    "TaskTemplate": {
        "ContainerSpec": {"Image": "ref/app:1", "DNSConfig": {}, "Env": ["A=1"], "Privileges": {}},
        "Resources": {"Limits": {}, "Reservations": {}},
        "RestartPolicy": {},
        "Placement": {},
        "LogDriver": {"Name": "json-file"},
    },
    "Mode": {"Replicated": {"Replicas": 0}},
    "UpdateConfig": {"Parallelism": 1},
    "EndpointSpec": {},
}
SHORT_0 = SHORT | {"Mode": {"Replicated": {"Replicas": 0}}}
_DATA = {"Name": "ref", "Data": base64.b64encode(b"x").decode()}

# Name of the probe, and what is asked. Those that end in ! are asked for their effect alone.
PROBES: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/version", None),
    ("GET", "/info", None),
    ("GET", "/swarm", None),
    ("GET", "/swarm/unlockkey", None),
    ("POST", "/swarm/unlock", {"UnlockKey": "x"}),
    ("POST", "/swarm/init", {}),
    ("GET", "/nodes", None),
    ("GET", "/nodes/nope", None),
    ("POST", "/services/create", SHORT_0),
    ("POST", "/services/create", FULL),
    ("GET", "/services/ref-short", None),
    ("GET", "/services/ref-full", None),
    ("GET", "/services/ref-short?insertDefaults=true", None),
    ("GET", "/services/ref-full?insertDefaults=true", None),
    ("GET", "/services?status=true", None),
    ("GET", "/services/nope", None),
    ("POST", "/services/ref-short/update?version=1", SHORT_0),
    ("POST", "/services/ref-short/update", SHORT_0),
    ("GET", "/services/ref-short/logs", None),
    ("GET", '/tasks?filters={"service":["nope"]}', None),
    ("GET", "/tasks/nope", None),
    ("POST", "/secrets/create", _DATA),
    ("POST", "/secrets/create", _DATA),
    ("GET", "/secrets", None),
    ("GET", "/secrets/ref", None),
    ("POST", "/configs/create", _DATA),
    ("GET", "/configs", None),
    ("GET", "/configs/ref", None),
    ("POST", "/images/load", ARCHIVE),
    ("POST", "/images/load", b"garbage"),
    ("GET", '/images/json?filters={"reference":["ref/app"]}', None),
    ("GET", "/images/ref/app:1/json", None),
    ("GET", "/images/nope/json", None),
    ("GET", '/images/json?filters={"nonsense":["x"]}', None),
    ("GET", "/plugins/x/json", None),
    ("GET", "/containers/x/json", None),
    ("GET", "/nonsense", None),
    ("PUT", "/services", None),
    ("GET", "/v1.99/info", None),
    ("GET", "/v1.2/info", None),
    ("DELETE", "/services/ref-short", None),
    ("DELETE", "/services/ref-full", None),
    ("DELETE", "/services/nope", None),
    ("DELETE", "/secrets/ref", None),
    ("DELETE", "/configs/ref", None),
    ("DELETE", "/images/ref/app:1", None),
)


def shape(value: Any, path: str = "") -> Shape:
    """Every leaf with its type; lists are one item, empty lists and maps are leaves."""
    match value:
        case dict() if value:
            return {k: v for key, item in value.items() for k, v in shape(item, f"{path}.{key}").items()}
        case list() if value:
            return {k: v for item in value for k, v in shape(item, f"{path}[]").items()}
        case dict() | list():
            return {path: "empty"}
        case bool():
            return {path: "boolean"}
        case int() | float():
            return {path: "number"}
        case str():
            return {path: "string"}
    return {path: "null"}


async def answers(ask: Ask) -> dict[str, tuple[int, Shape]]:
    """Status and shape of each probe, in order. One that is asked again has a number."""
    found: dict[str, tuple[int, Shape]] = {}
    for method, path, body in PROBES:
        status, answer = await ask(method, path, body)
        name = f"{method} {path}"
        again = sum(each.partition(" #")[0] == name for each in found)
        found[f"{name} #{again + 1}" if again else name] = status, shape(answer)
    return found


async def decoded(response: aiohttp.ClientResponse) -> tuple[int, Any]:
    """JSON, or a stream of it as a list; anything else as its text."""
    text = await response.text()
    if not text:
        return response.status, ""
    try:
        return response.status, json.loads(text)
    except ValueError:
        pass
    try:
        return response.status, [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return response.status, text


async def record(socket: str) -> None:
    async with aiohttp.ClientSession("http://docker", connector=aiohttp.UnixConnector(socket)) as session:

        async def ask(method: str, path: str, body: Any) -> tuple[int, Any]:
            sent = {"data": body} if isinstance(body, bytes) else {"json": body}
            async with session.request(method, path, **sent) as response:
                return await decoded(response)

        RECORDED.write_text(json.dumps(await answers(ask), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1]))
