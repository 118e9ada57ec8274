"""`pyswarm service logs`: the framed log stream of the API, told apart by task."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, TextIO
from urllib.parse import parse_qsl

import aiohttp

from pyswarmd.cli import units
from pyswarmd.cli.render import parse_time
from pyswarmd.cli.resolve import Names
from pyswarmd.client import EngineClient, at
from swarmcore.clock import utc_now
from swarmcore.errors import Invalid, NotFound

_HEADER = 8
_STDERR, _SYSTEM = 2, 3  # 3 is the engine's own voice


async def print_logs(client: EngineClient, options: argparse.Namespace) -> int:
    """Exit code 1 when the daemon says that something is missing."""
    incomplete = False
    query = {
        "stdout": "true",
        "stderr": "true",
        "follow": str(options.follow).lower(),
        "timestamps": str(options.timestamps).lower(),
        "tail": options.tail,
        "details": str(not options.raw).lower(),
    }
    if options.since:
        query["since"] = _since(options.since)
    path, terminal = await _path(client, options.service)
    labels = _Labels(client)
    torn: tuple[int, str] | None = None  # stream and task whose very long line goes on in its next frame
    async with client.request("GET", path, query=query) as response:
        async for stream, line in _lines(response) if terminal else _frames(response):
            text = line.decode(errors="replace")
            if stream == _SYSTEM:
                print(text, end="", file=sys.stderr, flush=True)
                incomplete = True
                continue
            if not options.raw:
                label, task, text = await labels.label(text, timestamps=options.timestamps)
                if torn is not None and torn != (stream, task):
                    print(file=_file(torn[0]), flush=True)
                text = text if torn == (stream, task) else label + text
                torn = None if text.endswith("\n") else (stream, task)
            print(text, end="", file=_file(stream), flush=True)
    return int(incomplete)


def _file(stream: int) -> TextIO:
    return sys.stderr if stream == _STDERR else sys.stdout


async def _path(client: EngineClient, name: str) -> tuple[str, bool]:
    """Where the logs are, and whether they come from a terminal (then the stream has no frames)."""
    try:
        service = await client.get(at("services", name))
    except NotFound as missing:
        try:
            task = await client.get(at("tasks", name))
        except NotFound:
            raise missing from None
        return at("tasks", task["ID"], "logs"), _has_terminal(task["Spec"])
    return at("services", service["ID"], "logs"), _has_terminal(service["Spec"]["TaskTemplate"])


def _has_terminal(spec: dict[str, Any]) -> bool:
    return bool((spec.get("ContainerSpec") or {}).get("TTY"))


def _since(text: str, now: Callable[[], datetime] = utc_now) -> str:
    """Unix seconds of an RFC 3339 time, of seconds, or of a duration ago such as 10m."""
    if text.replace(".", "", 1).isdigit():
        return text
    try:
        return str(now().timestamp() - units.duration(text) / 1e9)
    except Invalid:
        try:
            return str(parse_time(text).timestamp())
        except ValueError:
            raise Invalid(f"invalid time {text!r}", "write it like 10m or 2026-01-31T12:00:00Z") from None


async def _frames(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[int, bytes]]:
    """(stream, payload) of Docker's 8-byte framed stream."""
    buffer = bytearray()
    async for chunk in response.content.iter_any():
        buffer += chunk
        while len(buffer) >= _HEADER:
            size = int.from_bytes(buffer[4:8], "big")
            if len(buffer) < _HEADER + size:
                break
            yield buffer[0], bytes(buffer[_HEADER : _HEADER + size])
            del buffer[: _HEADER + size]


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[int, bytes]]:
    """(1, line) of a stream without frames; the last line may lack its end."""
    buffer = bytearray()
    async for chunk in response.content.iter_any():
        buffer += chunk
        while (end := buffer.find(b"\n")) >= 0:
            yield 1, bytes(buffer[: end + 1])
            del buffer[: end + 1]
    if buffer:
        yield 1, bytes(buffer)


class _Labels:
    """`web.1.abc123@m2    | line` from the details that the daemon puts before each line."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._nodes = Names(client)
        self._tasks: dict[str, str] = {}

    async def label(self, text: str, *, timestamps: bool) -> tuple[str, str, str]:
        """What to print before the line, the task's id, and the line."""
        stamp = ""
        if timestamps:
            stamp, _, text = text.partition(" ")
            stamp += " "
        details, _, line = text.partition(" ")
        facts = {
            key.rpartition("com.docker.swarm.")[2]: value
            for item in details.split(",")
            for key, value in parse_qsl(item, keep_blank_values=True)
        }
        task = facts.get("task.id", "")
        name = await self._task_name(task)
        node = await self._nodes.node(facts.get("node.id", ""))
        return f"{stamp}{name}@{node}    | ", task, line

    async def _task_name(self, task_id: str) -> str:
        if task_id not in self._tasks:
            try:
                task: dict[str, Any] = await self._client.get(at("tasks", task_id))
                service = await self._client.get(at("services", task["ServiceID"]))
                slot = task.get("Slot") or task.get("NodeID")
                self._tasks[task_id] = f"{service['Spec']['Name']}.{slot}.{task_id[:12]}"
            except NotFound:
                self._tasks[task_id] = task_id[:12]
        return self._tasks[task_id]
