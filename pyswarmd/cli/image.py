"""`pyswarm image …`: images of this host."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

from pyswarmd.cli import render
from pyswarmd.cli.tasks import add_filters, query_filters
from pyswarmd.client import EngineClient, at
from swarmcore.errors import Invalid, NotFound

_CHUNK = 1 << 20


def add(commands: Any) -> None:
    group = commands.add_parser("image", help="manage images of this host").add_subparsers(
        required=True, metavar="COMMAND"
    )
    load = group.add_parser("load", help="load an archive of docker save or an OCI archive")
    load.add_argument("-i", "--input", default="-", help="file to read (default: standard input)")
    load.add_argument("-q", "--quiet", action="store_true")
    load.set_defaults(run=_load)

    bring = group.add_parser("import", help="make an image of a root file system tarball")
    bring.add_argument("file", help="tarball, - for standard input")
    bring.add_argument("reference", help="name:tag of the new image")
    bring.add_argument("-c", "--change", action="append", default=[], help="e.g. 'CMD [\"/app\"]'")
    bring.set_defaults(run=_import)

    demo = group.add_parser("demo", help="build the demo image from busybox-static and load it")
    demo.set_defaults(run=_demo)

    ls = group.add_parser("ls", help="list images")
    ls.add_argument("--no-trunc", action="store_true")
    add_filters(ls)
    ls.set_defaults(run=_ls)

    rm = group.add_parser("rm", help="remove images")
    rm.add_argument("images", nargs="+", metavar="IMAGE")
    rm.add_argument("-f", "--force", action="store_true")
    rm.set_defaults(run=_rm)


def _open(name: str) -> IO[bytes]:
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise NotFound(f"cannot read {name}: {error.strerror}") from None


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        yield chunk


async def _send(client: EngineClient, path: str, query: dict[str, str], data: Any) -> list[dict[str, Any]]:
    async with client.request(
        "POST", path, query=query, data=data, headers={"Content-Type": "application/x-tar"}
    ) as response:
        lines = [json.loads(line) for line in (await response.read()).splitlines() if line.strip()]
    for line in lines:
        if "error" in line:
            raise Invalid(line["error"], line.get("hint", ""))
    return lines


async def _load(client: EngineClient, options: argparse.Namespace) -> None:
    with _open(options.input) as file:
        lines = await _send(client, "/images/load", {"quiet": "1"}, _chunks(file))
    for line in lines:
        if not options.quiet and line.get("stream"):
            render.out(line["stream"].rstrip("\n"))


async def _import(client: EngineClient, options: argparse.Namespace) -> None:
    repository, _, tag = options.reference.rpartition(":")
    if not repository or "/" in tag:
        repository, tag = options.reference, "latest"
    query = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": "\n".join(options.change)}
    with _open(options.file) as file:
        lines = await _send(client, "/images/create", query, _chunks(file))
    render.out(lines[-1].get("status", "") if lines else "")


async def _demo(client: EngineClient, options: argparse.Namespace) -> None:
    from pyswarmd.lab.demo_image import build_demo_image

    archive = await asyncio.to_thread(build_demo_image)
    for line in await _send(client, "/images/load", {"quiet": "1"}, archive):
        render.out(line.get("stream", "").rstrip("\n"))


async def _ls(client: EngineClient, options: argparse.Namespace) -> None:
    rows = []
    for image in await client.get("/images/json", filters=query_filters(options.filter)):
        whole = image["Id"].removeprefix("sha256:")
        for name in image.get("RepoTags") or ["<none>:<none>"]:
            repository, _, tag = name.rpartition(":")
            rows.append(
                {
                    "REPOSITORY": repository,
                    "TAG": tag,
                    "IMAGE ID": render.short(whole, whole=options.no_trunc),
                    "SIZE": f"{image['Size'] / 1e6:.1f}MB",
                }
            )
    if options.quiet:
        for row in rows:
            render.out(row["IMAGE ID"])
    else:
        render.table(rows, ("REPOSITORY", "TAG", "IMAGE ID", "SIZE"), options.format)


async def _rm(client: EngineClient, options: argparse.Namespace) -> None:
    for name in options.images:
        for gone in await client.delete(at("images", name), force=str(options.force).lower()) or []:
            for verb, what in gone.items():
                render.out(f"{verb}: {what}")
