"""/images of this host: load, import, list, inspect, tag, remove. Registries come with a later release."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from pyswarmd.engine.door.context import Route, answer, asked, empty, filters, node_of
from pyswarmd.engine.door.versions import api_version
from pyswarmd.engine.host import image_filters
from pyswarmd.engine.host.import_changes import run_config
from pyswarmd.engine.host.parts import IMAGES, Images
from pyswarmd.engine.shown.images import details, summary
from swarmcore.aio import in_thread
from swarmcore.errors import Invalid, SwarmError, Unimplemented
from worker.images.limits import DiskFull

_CHUNK = 1 << 20


def _store(request: web.Request) -> Images:
    return request.app[IMAGES]


@contextlib.asynccontextmanager
async def _upload(request: web.Request) -> AsyncIterator[Path]:
    """The request's body in a file without a name: whatever becomes of the daemon, nothing of it is left."""
    folder = node_of(request).settings.state_dir / "upload"
    folder.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            async for chunk in request.content.iter_chunked(_CHUNK):
                await in_thread(file.write, chunk)
            await in_thread(file.flush)
        except OSError as error:
            raise DiskFull(f"cannot store the upload: {error.strerror}") from None
        yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")


def _lines(*messages: dict[str, Any]) -> web.Response:
    text = "".join(json.dumps(message) + "\r\n" for message in messages)
    return web.Response(body=text.encode(), content_type="application/json")


async def load(request: web.Request) -> web.Response:
    """As a stream of messages: what is wrong with an archive is one of them, behind a status of 200."""
    async with _upload(request) as archive:
        try:
            images = await _store(request).load(archive)
        except SwarmError as error:
            message = {"errorDetail": {"message": str(error)}, "error": str(error)}
            return _lines(message | ({"hint": error.hint} if error.hint else {}))
    return _lines(
        *(
            {"stream": f"{line}\n"}
            for image in images
            for line in [f"Loaded image: {name}" for name in image.names] or [f"Loaded image ID: {image.id}"]
        )
    )


async def create(request: web.Request) -> web.Response:
    """Import a root file system (`fromSrc=-`); pulling needs a registry client, which is not there yet."""
    source = request.query.get("fromSrc")
    if source != "-":
        raise Unimplemented(
            "pulling images from a registry is not supported yet",
            'use "pyswarm image load -i FILE", or "pyswarm image import FILE NAME"',
        )
    repository, tag = request.query.get("repo", ""), request.query.get("tag", "")
    name = f"{repository}:{tag}" if repository and tag else repository or None
    run = run_config(request.query.getall("changes", []))
    async with _upload(request) as archive:
        image = await _store(request).import_rootfs(
            archive, name, run, request.query.get("message", "imported from a tarball")
        )
    return _lines({"status": image.id})


async def ls(request: web.Request) -> web.Response:
    wanted, store = filters(request, image_filters.KNOWN), _store(request)
    if (name := request.query.get("filter")) and api_version(request) < (1, 41):
        wanted.setdefault("reference", []).append(name)  # how it was called before there were filters
    found = image_filters.listed(store, wanted, store.now())
    return answer([summary(each.image, store, each.names, each.digests) for each in found])


async def inspect(request: web.Request) -> web.Response:
    store = _store(request)
    return answer(details(store.get(request.match_info["name"]), store))


async def tag(request: web.Request) -> web.Response:
    repository = request.query.get("repo", "")
    if not repository:
        raise Invalid("no repository was given", "name the new image with repo and tag")
    name = f"{repository}:{request.query.get('tag') or 'latest'}"
    await _store(request).tag(request.match_info["name"], name)
    return empty(201)


async def remove(request: web.Request) -> web.Response:
    gone = await _store(request).remove(request.match_info["name"], force=asked(request, "force"))
    return answer([{"Untagged": n} for n in gone.untagged] + [{"Deleted": d} for d in gone.deleted])


async def distribution(request: web.Request) -> web.Response:
    """Clients ask this to pin a digest and go on with a warning: the answer must be quick."""
    raise Unimplemented(
        "registries are not supported yet", "images must be loaded on the nodes that run them"
    )


_NAME = "{name:.+}"
ROUTES: tuple[Route, ...] = (
    ("GET", "/images/json", ls),
    ("POST", "/images/load", load),
    ("POST", "/images/create", create),
    ("GET", f"/images/{_NAME}/json", inspect),
    ("POST", f"/images/{_NAME}/tag", tag),
    ("DELETE", f"/images/{_NAME}", remove),
    ("GET", f"/distribution/{_NAME}/json", distribution),
)
