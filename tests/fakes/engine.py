"""An Engine API with canned answers and a memory of what was asked: what the CLI is tested against."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from pyswarmd.client import EngineClient

Answer = Any  # JSON; bytes as they are; an int is a status; InTurn: another one each time


class InTurn:
    """Answers one after the other, the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)

    def next(self) -> Answer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class FakeEngine:
    """`answers` maps `METHOD /path` to an answer; whatever is not listed is 404."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.asked: list[tuple[str, dict[str, str], Any]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = f"{request.method} /{request.match_info['path']}"
        body = await request.json() if request.can_read_body else None
        self.asked.append((asked, dict(request.query), body))
        answer = self.answers.get(asked, 404)
        match answer.next() if isinstance(answer, InTurn) else answer:
            case int() as status:
                return web.json_response({"message": f"status {status} of {asked}"}, status=status)
            case bytes() as raw:
                return web.Response(body=raw)
            case answer:
                return web.json_response(answer)

    def bodies(self, asked: str) -> list[Any]:
        return [body for what, _, body in self.asked if what == asked]

    def queries(self, asked: str) -> list[dict[str, str]]:
        return [query for what, query, _ in self.asked if what == asked]


@asynccontextmanager
async def engine(answers: Mapping[str, Answer]) -> AsyncIterator[tuple[FakeEngine, EngineClient]]:
    fake = FakeEngine(answers)
    app = web.Application()
    app.router.add_route("*", "/v1.41/{path:.*}", fake.handle)
    async with TestServer(app) as server, EngineClient(f"tcp://127.0.0.1:{server.port}") as client:
        yield fake, client
