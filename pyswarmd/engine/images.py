"""/images of this host: load, import, list, inspect, tag, remove. Registries come with a later release."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from aiohttp import web

from pyswarmd.engine import views
from pyswarmd.engine.context import Route, answer, asked, empty, filters, node_of
from pyswarmd.engine.import_changes import run_config
from swarmcore.errors import Invalid, Unsupported
from worker.images.store import DiskFull, Image, ImageStore

_CHUNK = 1 << 20
FILTERS = ("reference", "dangling")


def _store(request: web.Request) -> ImageStore:
    return node_of(request).images


@contextlib.asynccontextmanager
async def _upload(request: web.Request) -> AsyncIterator[Path]:
    """The request's body in a file, gone when the block ends."""
    folder = node_of(request).settings.state_dir / "upload"
    folder.mkdir(mode=0o700, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="archive-") as file:
        try:
            async for chunk in request.content.iter_chunked(_CHUNK):
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(file.flush)
        except OSError as error:
            raise DiskFull(f"cannot store the upload: {error.strerror}") from None
        yield Path(file.name)


def _lines(*messages: dict[str, Any]) -> web.Response:
    text = "".join(json.dumps(message) + "\r\n" for message in messages)
    return web.Response(text=text, content_type="application/json")


async def load(request: web.Request) -> web.Response:
    async with _upload(request) as archive:
        images = await _store(request).load(archive)
    return _lines(
        *(
            {"stream": f"Loaded image: {name}\n"}
            for image in images
            for name in image.names or (f"ID {image.id}",)
        )
    )


async def create(request: web.Request) -> web.Response:
    """Import a root file system (`fromSrc=-`); pulling needs a registry client, which is not there yet."""
    source = request.query.get("fromSrc")
    if source != "-":
        raise Unsupported(
            "pulling images from a registry has no behaviour yet", "use pyswarm image load, or image import"
        )
    repository, tag = request.query.get("repo", ""), request.query.get("tag", "")
    name = f"{repository}:{tag}" if repository and tag else repository or None
    run = run_config(request.query.get("changes", ""))
    async with _upload(request) as archive:
        image = await _store(request).import_rootfs(
            archive, name, run, request.query.get("message", "imported from a tarball")
        )
    return _lines({"status": image.id})


def _summary(image: Image, store: ImageStore) -> dict[str, Any]:
    created = image.created or image.loaded
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": list(image.names) or None,
        "RepoDigests": list(image.digests) or None,
        "Created": int(created.timestamp()),
        "Size": image.size,
        "VirtualSize": image.size,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": dict(store.config(image).run.labels or {}) or None,
    }


def _fits(image: Image, wanted: dict[str, list[str]]) -> bool:
    if references := wanted.get("reference"):
        short = [name.rpartition(":")[0] for name in image.names]
        names = [*image.names, *short]
        if not any(fnmatchcase(name, pattern) for name in names for pattern in references):
            return False
    if dangling := wanted.get("dangling"):
        return (not image.names) == (dangling[0].lower() in ("1", "true"))
    return True


async def ls(request: web.Request) -> web.Response:
    wanted, store = filters(request, FILTERS), _store(request)
    return answer([_summary(image, store) for image in store.list() if _fits(image, wanted)])


async def inspect(request: web.Request) -> web.Response:
    store = _store(request)
    image = store.get(request.match_info["name"])
    config = store.config(image)
    return answer(
        {
            "Id": image.id,
            "RepoTags": list(image.names),
            "RepoDigests": list(image.digests),
            "Parent": "",
            "Comment": "",
            "Created": (image.created or image.loaded).isoformat().replace("+00:00", "Z"),
            "Author": config.author,
            "Config": views.builtins(config.run),
            "Architecture": config.architecture,
            "Os": config.os,
            "Size": image.size,
            "VirtualSize": image.size,
            "RootFS": {"Type": "layers", "Layers": list(image.layers)},
            "Metadata": {"LastTagTime": views.ZERO_TIME},
        }
    )


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
    raise Unsupported("registries have no behaviour yet", "images must be loaded on the nodes that run them")


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
