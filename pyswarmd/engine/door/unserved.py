"""Routes that Docker has and this version does not: 501 and one line, whatever is asked of them.

An issue that gives a route its behaviour deletes it here. `docker inspect NAME` asks one kind of object after the
other and goes on after a 404 only: where nothing of the kind can be there, that is the answer.
"""

from __future__ import annotations

from aiohttp import web

from pyswarmd.engine.door.context import Route
from swarmcore.errors import NotFound, Unimplemented

# What it is, in the words of the refusal: the routes (method, path).
_WHAT: dict[str, tuple[tuple[str, str], ...]] = {
    "listing containers": (("GET", "/containers/json"),),
    "creating containers outside of services": (("POST", "/containers/create"),),
    "looking into containers": (
        ("GET", "/containers/{id}/top"),
        ("GET", "/containers/{id}/logs"),
        ("GET", "/containers/{id}/stats"),
        ("GET", "/containers/{id}/changes"),
        ("GET", "/containers/{id}/export"),
    ),
    "copying files from and to containers": (
        ("HEAD", "/containers/{id}/archive"),
        ("GET", "/containers/{id}/archive"),
        ("PUT", "/containers/{id}/archive"),
    ),
    "driving containers": (
        *(
            ("POST", f"/containers/{{id}}/{verb}")
            for verb in ("start", "stop", "restart", "kill", "pause", "unpause", "resize", "update", "rename")
        ),
        ("POST", "/containers/{id}/wait"),
        ("POST", "/containers/{id}/attach"),
        ("GET", "/containers/{id}/attach/ws"),
        ("POST", "/containers/prune"),
        ("DELETE", "/containers/{id}"),
        ("POST", "/commit"),
    ),
    "running commands in containers": (
        ("POST", "/containers/{id}/exec"),
        ("POST", "/exec/{id}/start"),
        ("POST", "/exec/{id}/resize"),
        ("GET", "/exec/{id}/json"),
    ),
    "building images": (
        ("POST", "/build"),
        ("POST", "/build/prune"),
        ("POST", "/build/cancel"),
        ("POST", "/session"),
        ("POST", "/grpc"),
    ),
    "searching a registry": (("GET", "/images/search"),),
    "logging in to a registry": (("POST", "/auth"),),
    "pushing images": (("POST", "/images/{name:.+}/push"),),
    "saving images": (("GET", "/images/get"), ("GET", "/images/{name:.+}/get")),
    "the history of images": (("GET", "/images/{name:.+}/history"),),
    "the attestations of images": (("GET", "/images/{name:.+}/attestations"),),
    "pruning images": (("POST", "/images/prune"),),
    "volumes": (
        ("GET", "/volumes"),
        ("POST", "/volumes/create"),
        ("POST", "/volumes/prune"),
        ("PUT", "/volumes/{id}"),
        ("DELETE", "/volumes/{id}"),
    ),
    "plugins": (
        ("GET", "/plugins"),
        ("GET", "/plugins/privileges"),
        ("POST", "/plugins/pull"),
        ("POST", "/plugins/create"),
        *(("POST", f"/plugins/{{id:.+}}/{verb}") for verb in ("enable", "disable", "push", "upgrade", "set")),
        ("DELETE", "/plugins/{id:.+}"),
    ),
    "checkpoints": (
        ("GET", "/containers/{id}/checkpoints"),
        ("POST", "/containers/{id}/checkpoints"),
        ("DELETE", "/containers/{id}/checkpoints/{checkpoint}"),
    ),
    "events": (("GET", "/events"),),
    "the use of disk space": (("GET", "/system/df"),),
}


_HINTS = {
    "creating containers outside of services": 'run it as a service: "pyswarm service create IMAGE"',
    "listing containers": 'list tasks: "pyswarm service ps SERVICE", "pyswarm node ps"',
    "building images": 'build elsewhere and load the result: "pyswarm image load -i FILE"',
}


async def inspect_plugin(request: web.Request) -> web.Response:
    raise NotFound(f'plugin "{request.match_info["id"]}" not found', "")


def _refused(method: str, path: str, what: str) -> Route:
    async def refuse(request: web.Request) -> web.Response:
        raise Unimplemented(f"not supported yet: {what}", _HINTS.get(what, ""))

    return method, path, refuse


ROUTES: tuple[Route, ...] = (
    ("GET", "/plugins/{id:.+}/json", inspect_plugin),
    *(_refused(method, path, what) for what, routes in _WHAT.items() for method, path in routes),
)
