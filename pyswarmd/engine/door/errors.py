"""Errors as Docker's clients expect them: the status and `{"message": …}`."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from swarmcore.errors import SwarmError, cut
from swarmcore.process.faults import one_line, passes

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error_response(status: int, message: str, hint: str = "") -> web.Response:
    body = {"message": cut(message)} | ({"hint": hint} if hint else {})
    # As bytes: a charset in the content type would hide the message from Docker's command.
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost edge of a request: every failure becomes one JSON answer."""
    try:
        return await handler(request)
    except SwarmError as error:
        return error_response(error.status, str(error), error.hint)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return error_response(404, f"page not found: {request.method} {request.path}")
    except web.HTTPException as error:
        return error_response(error.status, error.reason)
    except ConnectionResetError:
        raise  # the client went away: nobody to answer
    except OSError as error:
        # The disk is full, or no descriptor is left: the request failed, nothing of ours did.
        if not passes(error):
            log.exception("request failed", extra={"method": request.method, "path": request.path})
            return error_response(500, "internal error, see the daemon's log")
        log.warning(
            "request failed",
            extra={"method": request.method, "path": request.path, "reason": one_line(error)},
        )
        return error_response(500, one_line(error), "free what is used up on this host, then try again")
    except Exception:
        log.exception("request failed", extra={"method": request.method, "path": request.path})
        return error_response(500, "internal error, see the daemon's log")
