"""The daemon's side of the spawner: start programs and mount through it; a dead spawner is replaced."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from swarmcore.aio import Tasks, to_the_end
from swarmcore.errors import Internal, SwarmError
from worker.runtime.descriptors import Limit

log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]
_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from worker.runtime.spawner import main; "
    "main(int(sys.argv[2]), sys.argv[3] == 'hide', tuple(map(int, sys.argv[4:])) or None)"
)
_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class SpawnerGone(Internal):
    """The spawner ended while it worked on a request; whether the work was done is not known."""


class MountFailed(SwarmError):
    """A root file system or volume could not be mounted."""


class Outcome(Struct, frozen=True, kw_only=True):
    """How a program ended; `sync` is what conmon told of the container's creation."""

    code: int
    out: str
    err: str
    sync: str


class SecretFile(Struct, frozen=True, kw_only=True):
    """A file on a tmpfs that only the container's mount namespace sees."""

    name: str
    content: str  # base64
    uid: int = 0
    gid: int = 0
    mode: int = 0o444


class MountRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One mount; an overlay is told by its `layers` (from the lowest up, below `cwd`) and the directory of its own.

    `own` holds `upper` and `work`. Records of earlier versions have overlays as `options`.
    """

    source: str
    target: str
    kind: str
    flags: int = 0
    options: str = ""
    cwd: str = "/"
    layers: tuple[str, ...] = ()
    own: str = ""
    files: tuple[SecretFile, ...] = ()


class _Link:
    """One spawner process and the requests it has not answered yet."""

    def __init__(self, child: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self.child, self.channel = child, channel
        self.pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.pending[0] = self.ready
        self.writer: asyncio.StreamWriter | None = None

    async def listen(self) -> None:
        reader, self.writer = await asyncio.open_connection(sock=self.channel)
        try:
            while True:
                (size,) = struct.unpack(">I", await reader.readexactly(4))
                answer = json.loads(await reader.readexactly(size))
                future = self.pending.pop(answer["id"], None)
                if future is not None and not future.done():
                    future.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            log.info("spawner ended", extra={"pid": self.child.pid})
        finally:
            self.fail()
            self.writer.close()
            await asyncio.to_thread(self.child.wait)

    def fail(self) -> None:
        for future in self.pending.values():
            if not future.done():
                future.set_exception(SpawnerGone("the container spawner ended unexpectedly"))
                future.exception()  # seen: a caller that was cancelled will not look
        self.pending.clear()

    @property
    def alive(self) -> bool:
        return self.writer is not None and not self.writer.is_closing() and self.child.poll() is None


class Spawner:
    """`run`, `mount`, `unmount`, each safe to call from many tasks at once."""

    def __init__(self, *, hide_unified: bool = True, descriptors: Limit | None = None) -> None:
        """`descriptors`: the limit of what is started, if it is not to be this process's."""
        self._hide = hide_unified
        self._limit = [str(descriptors.soft), str(descriptors.hard)] if descriptors is not None else []
        self._tasks = Tasks()
        self._starting = asyncio.Lock()
        self._link: _Link | None = None
        self._last = 0

    @property
    def pid(self) -> int | None:
        return self._link.child.pid if self._link is not None and self._link.alive else None

    @property
    def root(self) -> Path:
        """The file system as the spawner sees it, its overlays included."""
        return Path(f"/proc/{self.pid or 'self'}/root")

    async def _connected(self) -> _Link:
        async with self._starting:
            if self._link is None or not self._link.alive:
                # Started for all who wait: the one that asked first may be cancelled.
                await to_the_end(self._new_link())
            assert self._link is not None
            return self._link

    async def _new_link(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            argv = [sys.executable, "-I", "-S", "-c", _CODE, str(_ROOT), str(theirs.fileno())]
            child = await asyncio.to_thread(
                subprocess.Popen,
                [*argv, "hide" if self._hide else "show", *self._limit],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # a signal to the daemon's process group must not reach it
                env=_ENV,
                cwd="/",
            )
        link = _Link(child, ours)
        self._tasks.start(link.listen(), "spawner")
        hello = await link.ready
        if "error" in hello:
            raise Internal(f"cannot start the container spawner: {hello['error']}")
        log.debug("spawner started", extra={"pid": child.pid, "hidden": hello["hidden"]})
        self._link = link

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        link = await self._connected()
        self._last += 1
        request["id"] = self._last
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        link.pending[self._last] = future
        body = json.dumps(request).encode()
        assert link.writer is not None
        link.writer.write(struct.pack(">I", len(body)) + body)
        return await future

    async def _ask_again(self, request: dict[str, Any]) -> dict[str, Any]:
        """For requests that may be made twice: a spawner that died meanwhile is replaced once."""
        try:
            return await self._ask(request)
        except SpawnerGone:
            return await self._ask(request)

    async def run(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, sync: bool = False
    ) -> Outcome:
        """Run `argv` (an absolute path first) to its end; with `sync` until conmon has told of its create."""
        answer = await self._ask(
            {"op": "run", "argv": list(argv), "env": {**_ENV, **(env or {})}, "sync": sync}
        )
        if "error" in answer:
            raise Internal(f"cannot start {argv[0]}: {answer['error']}")
        return Outcome(code=answer["code"], out=answer["out"], err=answer["err"], sync=answer["sync"])

    async def mount(
        self, requests: Sequence[MountRequest], *, read: Sequence[tuple[str, str]] = ()
    ) -> list[str]:
        """Mount what is not mounted yet, all or nothing; returns the texts of the small files in `read`."""
        entries = [
            {
                **{name: getattr(entry, name) for name in entry.__struct_fields__ if name != "files"},
                "files": [{n: getattr(f, n) for n in f.__struct_fields__} for f in entry.files],
            }
            for entry in requests
        ]
        answer = await self._ask_again(
            {"op": "mount", "mounts": entries, "read": [list(pair) for pair in read]}
        )
        if "error" in answer:
            raise MountFailed(f"cannot mount a container's file system: {answer['error']}")
        texts: list[str] = answer["texts"]
        return texts

    async def unmount(self, targets: Sequence[str | os.PathLike[str]]) -> None:
        answer = await self._ask_again(
            {"op": "unmount", "targets": [os.fspath(target) for target in targets]}
        )
        if "error" in answer:
            raise MountFailed(f"cannot unmount: {answer['error']}")

    async def close(self) -> None:
        """End the spawner; containers and their supervisors go on."""
        link, self._link = self._link, None
        if link is not None and link.writer is not None:
            link.writer.close()
            await asyncio.to_thread(link.child.wait)
        await self._tasks.close()
