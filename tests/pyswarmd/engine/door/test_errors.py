"""Failures become Docker's JSON, whatever raised them."""

from __future__ import annotations

import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pyswarmd.engine.door.errors import errors_as_json
from swarmcore.errors import Conflict, NotFound, OutOfSequence, SwarmError, Unavailable


def client_of(failure: BaseException) -> TestClient[web.Request, web.Application]:
    async def fail(request: web.Request) -> web.Response:
        raise failure

    app = web.Application(middlewares=[errors_as_json])
    app.router.add_get("/fail", fail)
    return TestClient(TestServer(app))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("service web not found"), 404),
        (Conflict("name conflicts with an existing object"), 409),
        (OutOfSequence("update out of sequence"), 409),
        (Unavailable("no leader"), 503),
        (web.HTTPRequestEntityTooLarge(max_size=1, actual_size=2), 413),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else "",
)
async def test_an_error_has_its_status_and_a_message(error: Exception, status: int) -> None:
    async with client_of(error) as client:
        response = await client.get("/fail")
        assert response.status == status
        assert response.headers["Content-Type"] == "application/json"  # Docker's command compares all of it
        body = await response.json()
    assert body["message"]
    if isinstance(error, SwarmError):
        assert body["message"] == str(error)
        assert body.get("hint", "") == error.hint


async def test_a_path_that_does_not_exist_is_named() -> None:
    async with client_of(NotFound("unused")) as client:
        response = await client.get("/nothing")
        assert response.status == 404
        assert await response.json() == {"message": "page not found: GET /nothing"}
        assert (await client.post("/fail")).status == 404  # as Docker, not 405


async def test_a_fault_of_ours_is_logged_and_tells_the_client_nothing_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        async with client_of(ZeroDivisionError("secret detail")) as client:
            response = await client.get("/fail")
            assert response.status == 500
            assert "secret detail" not in await response.text()
    assert "request failed" in caplog.text
    assert "secret detail" in caplog.text
