"""Which versions of the API are served, and what every answer says of this one."""

from __future__ import annotations

import platform
from collections.abc import Awaitable, Callable

from aiohttp import web

from pyswarmd.config import API_VERSION, MIN_API_VERSION, VERSION
from pyswarmd.engine.door.errors import error_response
from swarmcore.errors import clipped
from swarmcore.text.patterns import Pattern

#: What a path of any version begins with, as the router reads it.
PREFIX = "/v{version:[0-9]+[.][0-9]+}"
_VERSION = Pattern(r"/v([0-9]+)\.([0-9]+)/", 16384)  # longer than aiohttp takes a path
_DIGITS = 9  # of one part of a version
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "Api-Version": API_VERSION,
    "Ostype": "linux",
    "Server": f"pyswarm/{VERSION} ({platform.system().lower()})",
    "Docker-Experimental": "false",
}


def _pair(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


def refusal_of(path: str) -> str | None:
    """Why the version in this path is not served; None when it is, or when there is none."""
    match = _VERSION.match(path)
    if match is None:
        return None
    if len(match[1]) > _DIGITS or len(match[2]) > _DIGITS:
        return f"client version {clipped(match[0])} is no version"
    asked = (int(match[1]), int(match[2]))
    shown = f"{asked[0]}.{asked[1]}"
    if asked > _pair(API_VERSION):
        return f"client version {shown} is too new. Maximum supported API version is {API_VERSION}"
    if asked < _pair(MIN_API_VERSION):
        return (
            f"client version {shown} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )
    return None


@web.middleware
async def versions(request: web.Request, handler: Handler) -> web.StreamResponse:
    """`/v1.41/nodes` is `/nodes`, for every version in the range that is announced."""
    if (refusal := refusal_of(request.path)) is not None:
        return error_response(400, refusal)
    return await handler(request)


async def docker_headers(request: web.Request, response: web.StreamResponse) -> None:
    """On every answer, also on one that refuses."""
    response.headers.update(HEADERS)


def api_version(request: web.Request) -> tuple[int, int]:
    """That of the request's path, or the newest where it names none."""
    return _pair(request.match_info.get("version") or API_VERSION)
