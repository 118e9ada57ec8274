"""/services/{id}/logs and /tasks/{id}/logs: Docker's framed stream, one line a frame."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from urllib.parse import quote

from aiohttp import web

from manager.control.lookup import lookup, lookup_task
from pyswarmd.engine.door.context import Route, asked, manager_of
from swarmcore.errors import Invalid, SwarmError, clipped
from swarmcore.model.task import TaskSpec
from swarmcore.rpc.messages.logs import LogMessage, LogOptions, LogSelector, LogStream
from swarmcore.text.numbers import INT64_MAX, whole

_NUMBER = {LogStream.STDOUT: 1, LogStream.STDERR: 2}
_SYSTEM = 3  # the engine's own voice, which clients keep apart from what tasks say


def frame(stream: int, payload: bytes) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(payload).to_bytes(4, "big") + payload


def details(message: LogMessage) -> str:
    """Url-escaped and sorted by key, as the docker CLI wants them before each line."""
    facts = {
        "com.docker.swarm.node.id": message.node_id,
        "com.docker.swarm.service.id": message.service_id,
        "com.docker.swarm.task.id": message.task_id,
    }
    return ",".join(f"{quote(key)}={quote(value)}" for key, value in sorted(facts.items()))


def render(message: LogMessage, *, timestamps: bool, with_details: bool) -> bytes:
    before = ""
    if timestamps:
        before += message.timestamp.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z ")
    if with_details:
        before += details(message) + " "
    return before.encode() + message.data


def options_of(request: web.Request) -> LogOptions:
    stdout, stderr = asked(request, "stdout"), asked(request, "stderr")
    if not stdout and not stderr:
        raise Invalid("Bad parameters: you must choose at least one stream")
    since, tail = request.query.get("since", ""), request.query.get("tail", "all")
    try:
        moment = datetime.fromtimestamp(float(since), UTC) if since not in ("", "0") else None
    except (ValueError, OverflowError, OSError):  # no number, or no moment that a calendar has
        raise Invalid(f"invalid since {clipped(since)}", "send Unix seconds") from None
    lines = whole(tail, INT64_MAX)
    if lines is None and tail not in ("all", ""):
        raise Invalid(f"invalid tail {clipped(tail)}", 'send a number or "all"')
    return LogOptions(
        follow=asked(request, "follow"),
        since=moment,
        tail=lines,
        stdout=stdout,
        stderr=stderr,
    )


async def of_service(request: web.Request) -> web.StreamResponse:
    view = await manager_of(request).read()
    service = lookup(view.services, request.match_info["id"], "service")
    return await _stream(request, LogSelector(service_ids=(service.id,)), service.spec.task_template)


async def of_task(request: web.Request) -> web.StreamResponse:
    view = await manager_of(request).read()
    task = lookup_task(view.tasks, request.match_info["id"])
    return await _stream(request, LogSelector(task_ids=(task.id,)), task.spec)


async def _stream(request: web.Request, selector: LogSelector, spec: TaskSpec) -> web.StreamResponse:
    options = options_of(request)
    timestamps, with_details = asked(request, "timestamps"), asked(request, "details")
    raw = spec.container.tty
    response = web.StreamResponse(headers={"Content-Type": "application/vnd.docker.raw-stream"})
    await response.prepare(request)  # before the first line: a follower must see that it is connected
    try:
        async with aclosing(manager_of(request).logs.logs(selector, options)) as messages:
            async for message in messages:
                if message.task_id:
                    line = render(message, timestamps=timestamps, with_details=with_details)
                    await response.write(line if raw else frame(_NUMBER[message.stream], line))
                else:  # what could not be had
                    await response.write(message.data if raw else frame(_SYSTEM, message.data))
    except SwarmError as error:  # the answer has begun: the status cannot say it any more
        text = f"error: {error}\n".encode()
        await response.write(text if raw else frame(_SYSTEM, text))
    await response.write_eof()
    return response


ROUTES: tuple[Route, ...] = (
    ("GET", "/services/{id}/logs", of_service),
    ("GET", "/tasks/{id}/logs", of_task),
)
