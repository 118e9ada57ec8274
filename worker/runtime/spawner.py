"""A small process that mounts root file systems and starts conmon and the runtimes for the daemon.

It has a mount namespace of its own, for two reasons. Under hybrid cgroups crun 1.8 refuses to work as
long as it sees a cgroup2 mount that owns a controller; here that mount is taken away without touching
the host's. And every overlay made here vanishes with the last container and supervisor that uses it,
whatever becomes of the daemon. Starting programs from here is cheap too: this process is small.

Frames on the socket, both ways: 4 bytes big-endian length, then JSON. Only the standard library is
imported, because the process runs isolated from the virtual environment.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import struct
from typing import Any

from worker.runtime import mounts
from worker.runtime.in_root import read_in_root
from worker.runtime.overlay import mount_layers

_OUTPUT_LIMIT = 64 * 1024
_CGROUP_ROOT = "/sys/fs/cgroup"
SYNC_FD = 3


def hybrid_mounts(mountinfo: str) -> list[str]:
    """Where cgroup2 is mounted on a host that also has version 1 controllers; else nothing."""
    v1, v2 = False, []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind = right.split(" ", 1)[0]
        if kind == "cgroup":
            v1 = True
        elif kind == "cgroup2":
            v2.append(left.split(" ")[4].replace("\\040", " "))
    return v2 if v1 else []


class _Job:
    """One started program: its pidfd, its output, and for conmon the pipe that tells how create went."""

    def __init__(self, request: int, pid: int, pipes: dict[int, str], sync: bool) -> None:
        self.request, self.pid, self.pipes, self.sync = request, pid, pipes, sync
        self.pidfd = os.pidfd_open(pid)
        self.output = {"out": b"", "err": b"", "sync": b""}
        self.code: int | None = None

    @property
    def over(self) -> bool:
        if self.code is None:
            return False
        # conmon's first process ends early: its answer comes from the supervisor that it left behind.
        waiting = self.sync and "sync" in self.pipes.values() and b"\n" not in self.output["sync"]
        return not waiting


class Spawner:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._inbox = b""
        self._outbox = bytearray()
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._jobs: dict[int, _Job] = {}  # by file descriptor: pipes and pidfds

    def serve(self) -> None:
        """Until the daemon closes its end; what was started goes on."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._channel:
                    self._flush()
                    if not self._receive():
                        return
                elif (job := self._jobs.get(key.fd)) is not None:
                    self._progress(job, key.fd)

    # -- the socket ----------------------------------------------------------------------------------
    def _receive(self) -> bool:
        try:
            chunk = self._channel.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._inbox += chunk
        while len(self._inbox) >= 4:
            (size,) = struct.unpack_from(">I", self._inbox)
            if len(self._inbox) < 4 + size:
                break
            frame, self._inbox = self._inbox[4 : 4 + size], self._inbox[4 + size :]
            self._answer(json.loads(frame))
        return bool(chunk)

    def send(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self._outbox += struct.pack(">I", len(body)) + body
        self._flush()

    def _flush(self) -> None:
        try:
            while self._outbox:
                sent = self._channel.send(self._outbox)
                del self._outbox[:sent]
        except BlockingIOError:
            pass  # the selector tells when there is room
        except OSError:
            self._outbox.clear()  # the daemon is gone: recv ends the loop
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        self._selector.modify(self._channel, events)

    # -- requests ------------------------------------------------------------------------------------
    def _answer(self, request: dict[str, Any]) -> None:
        try:
            match request["op"]:
                case "run":
                    self._start(request)
                    return
                case "mount":
                    self.send({"id": request["id"], "texts": self._mount(request)})
                case "unmount":
                    for target in request["targets"]:
                        mounts.unmount(target)
                    self.send({"id": request["id"]})
                case other:
                    raise ValueError(f"unknown request {other}")
        except (OSError, ValueError) as error:
            self.send({"id": request["id"], "error": str(error), "errno": getattr(error, "errno", None)})

    def _mount(self, request: dict[str, Any]) -> list[str]:
        done: list[str] = []
        try:
            for entry in request["mounts"]:
                target = entry["target"]
                if os.path.ismount(target):
                    continue  # asked for again after the daemon's restart of a task
                os.chdir(entry.get("cwd", "/"))
                self._mount_one(entry, target)
                done.append(target)
                for file in entry.get("files", ()):
                    self._write(target, file)
        except OSError:
            for target in reversed(done):
                mounts.unmount(target)
            raise
        finally:
            os.chdir("/")
        return [read_in_root(_path(root), name) for root, name in request.get("read", ())]

    @staticmethod
    def _mount_one(entry: dict[str, Any], target: str) -> None:
        if layers := entry.get("layers"):
            own = entry["own"]
            mount_layers(layers, target, upper=f"{own}/upper", work=f"{own}/work", below=f"{own}/below")
        else:
            flags, options = entry.get("flags", 0), entry.get("options", "")
            mounts.mount(entry["source"], target, entry["kind"], flags, options)

    def _write(self, target: str, file: dict[str, Any]) -> None:
        path = os.path.join(target, file["name"])  # noqa: PTH118 - pathlib is not worth its start-up here
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as out:
            out.write(base64.b64decode(file["content"]))
            os.fchown(fd, file["uid"], file["gid"])
            os.fchmod(fd, file["mode"])

    def _start(self, request: dict[str, Any]) -> None:
        sync = bool(request.get("sync"))
        names = ["out", "err", *(["sync"] if sync else [])]
        pipes = {name: os.pipe() for name in names}
        env = dict(request["env"])
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
        actions += [
            (os.POSIX_SPAWN_DUP2, pipes[name][1], fd)
            for name, fd in zip(names, (1, 2, SYNC_FD), strict=False)
        ]
        if sync:
            env["_OCI_SYNCPIPE"] = str(SYNC_FD)
        try:
            pid = os.posix_spawn(
                request["argv"][0],
                request["argv"],
                env,
                file_actions=actions,
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores these; containers must not
            )
        except OSError:
            for end, _ in pipes.values():
                os.close(end)
            raise
        finally:
            for _, end in pipes.values():
                os.close(end)
        job = _Job(request["id"], pid, {pipes[name][0]: name for name in names}, sync)
        for fd in (job.pidfd, *job.pipes):
            os.set_blocking(fd, False)
            self._jobs[fd] = job
            self._selector.register(fd, selectors.EVENT_READ)

    # -- started programs ----------------------------------------------------------------------------
    def _progress(self, job: _Job, fd: int) -> None:
        if fd == job.pidfd:
            _, status = os.waitpid(job.pid, 0)
            job.code = os.waitstatus_to_exitcode(status)
            self._forget(fd)
        else:
            self._read(job, fd)
        if not job.over:
            return
        for pipe in list(job.pipes):
            self._read(job, pipe)  # what is there; a supervisor left behind may hold the pipe open
            if pipe in job.pipes:
                self._close_pipe(job, pipe)
        texts = {name: text.decode(errors="replace") for name, text in job.output.items()}
        self.send({"id": job.request, "code": job.code, **texts})

    def _read(self, job: _Job, fd: int) -> None:
        name = job.pipes[fd]
        while True:
            try:
                chunk = os.read(fd, 1 << 16)
            except BlockingIOError:
                return
            if not chunk:
                self._close_pipe(job, fd)
                return
            job.output[name] = (job.output[name] + chunk)[:_OUTPUT_LIMIT]

    def _close_pipe(self, job: _Job, fd: int) -> None:
        del job.pipes[fd]
        self._forget(fd)

    def _forget(self, fd: int) -> None:
        self._selector.unregister(fd)
        del self._jobs[fd]
        os.close(fd)


def _path(text: str) -> Any:
    from pathlib import Path

    return Path(text)


def main(fd: int, hide_unified: bool, descriptors: tuple[int, int] | None = None) -> None:
    """Serve the daemon at the other end of the socket `fd`. `descriptors`: the limit, soft and hard, of all that is
    started from here; the daemon's own is another one."""
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)
    channel = socket.socket(fileno=fd)
    channel.setblocking(False)
    # A supervisor that inherited it would keep the daemon from noticing this process's death.
    os.set_inheritable(fd, False)
    spawner = Spawner(channel)
    # The daemon's terminal and process group are not ours: only its end of the socket ends us.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        mounts.enter_private_namespace()
        hidden: list[str] = []
        if hide_unified:
            with open("/proc/self/mountinfo") as file:
                hidden = hybrid_mounts(file.read())
            for target in reversed(hidden):
                mounts.unmount(target)
    except OSError as error:
        spawner.send({"id": 0, "error": str(error)})
        return
    spawner.send({"id": 0, "hidden": hidden})
    with contextlib.suppress(KeyboardInterrupt):
        spawner.serve()
