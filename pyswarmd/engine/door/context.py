"""What every handler needs: the node behind the API, bodies, queries, answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from pyswarmd.engine.door.filters import Filters, flag, parse
from pyswarmd.node.manager_parts import ManagerParts
from pyswarmd.node.node import Node
from swarmcore.errors import Invalid, clipped
from swarmcore.model.codec import decode_spec
from swarmcore.text.booleans import boolean
from swarmcore.text.numbers import UINT64_MAX, whole

NODE: web.AppKey[Node] = web.AppKey("node", Node)
T = TypeVar("T", bound=Struct)
_BIG = 1 << 18  # bytes: what takes some tens of milliseconds
_NAMES, _NAME = 10, 100  # of the line about ignored fields: how many, and characters of each
Route = tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]


def node_of(request: web.Request) -> Node:
    return request.app[NODE]


def manager_of(request: web.Request) -> ManagerParts:
    """Raises where this node is no manager. Ask after the body is read: what is wrong with it is said first."""
    return request.app[NODE].manager()


async def body(request: web.Request, kind: type[T], warnings: list[str] | None = None) -> T:
    """The JSON body as a struct of the vocabulary; Invalid names the field that is wrong.

    Fields that Docker does not know are ignored, as Docker does. One line in `warnings` names them: give a list
    wherever the answer has a place for it. (What Docker knows and we do not act on is refused: model/support.py.)
    """
    ignored: list[str] = []
    raw = await request.read() or b"{}"
    if len(raw) < _BIG:
        found = decode_spec(raw, kind, ignored)
    else:  # in a thread: a manager's heartbeats must not wait for somebody's megabytes
        found = await asyncio.to_thread(decode_spec, raw, kind, ignored)
    if ignored and warnings is not None:
        warnings.append(_ignored_line(ignored))
    return found


def _ignored_line(names: Sequence[str]) -> str:
    """Names come from outside: only so many of them, and only so much of each."""
    shown = [name if len(name) <= _NAME else f"{name[:_NAME]}…" for name in names[:_NAMES]]
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"ignored unknown field{'s' if len(names) > 1 else ''}: {', '.join(shown)}{more}"


def filters(request: web.Request, known: Collection[str]) -> Filters:
    return parse(request.query.get("filters"), known)


def asked(request: web.Request, name: str) -> bool:
    """Whether a switch is on. Docker takes any word but a few for yes here."""
    return flag(request.query.get(name))


def said(request: web.Request, name: str) -> bool:
    """A boolean that Docker reads strictly: absent or empty is false, nonsense is refused."""
    text = request.query.get(name, "")
    return bool(text) and boolean(text, name)


def version(request: web.Request) -> int:
    """`?version=` of an update."""
    text = request.query.get("version", "")
    if (number := whole(text, UINT64_MAX)) is None:
        raise Invalid(
            f"invalid version {clipped(text)}", "send the Version.Index of the object that you read"
        )
    return number


def answer(value: Any, status: int = 200) -> web.Response:
    return raw_answer(msgspec.json.encode(value), status)


def raw_answer(body: bytes, status: int = 200) -> web.Response:
    """JSON that is encoded already."""
    return web.Response(status=status, body=body, content_type="application/json")


def empty(status: int = 200) -> web.Response:
    return web.Response(status=status)
