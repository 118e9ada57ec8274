"""The process that reads one archive for the daemon: bound in memory, processor time, size and entries.

Strangers write archives, so whatever goes wrong in here is theirs to hear in one line, and nothing of it reaches the
daemon. It ends with the daemon: its standard input stays open as long as somebody waits for the answer.
"""

from __future__ import annotations

import errno
import os
import resource
import secrets
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from swarmcore.errors import Invalid, SwarmError
from worker.images import layers, limits
from worker.images.archive import Archive, ArchivedImage, ArchivedLayer, opened
from worker.images.compression import BROKEN, HashingReader, decompressed
from worker.images.keys import directory_name, keys
from worker.images.limits import Budget, Limits
from worker.images.merged import is_opaque

_DESCRIPTORS = 1 << 16  # a layer that leans on hundreds has each of them open


class Job(Struct, frozen=True, kw_only=True):
    """Read the archive `path`; new layers go below `staging`, those named in `known` are in `layers` already."""

    path: str
    staging: str
    layers: str
    known: tuple[str, ...] = ()
    rootfs: bool = False  # a plain root file system instead of images
    limits: Limits


class Staged(Struct, frozen=True, kw_only=True):
    """An unpacked layer that waits in the staging directory."""

    directory: str
    size: int


class Stacked(Struct, frozen=True, kw_only=True):
    """An image and the keys of the layers to stack for it, from the lowest up."""

    image: ArchivedImage
    stack: tuple[str, ...]


class Failure(Struct, frozen=True, kw_only=True):
    kind: str
    message: str
    hint: str = ""
    details: str = ""  # for the log


class Answer(Struct, frozen=True, kw_only=True):
    images: tuple[Stacked, ...] = ()
    staged: dict[str, Staged] = {}
    failure: Failure | None = None


class Stager:
    """Unpacks the layers that are not there yet."""

    def __init__(self, job: Job) -> None:
        self.staging, self._layers = Path(job.staging), Path(job.layers)
        self._known = set(job.known)
        self.budget = Budget(job.limits, self.staging)
        self.staged: dict[str, Staged] = {}

    def stack(self, archive: Archive, image: ArchivedImage) -> tuple[str, ...]:
        stack: list[str] = []
        for layer, both in zip(image.layers, keys([each.diff_id for each in image.layers]), strict=True):
            key = next((key for key in both if self._has(key)), None)
            if key is None:
                with archive.layer(layer.member) as stream:
                    key = self._unpacked(stream, *both, stack)
            if is_opaque(self._directory(key)):
                stack.clear()  # overlayfs does not look for the mark at the top of a layer
            stack.append(key)
        return tuple(stack)

    def rootfs(self, path: Path) -> Stacked:
        """An image of the one layer that the tar of a root file system is; without config."""
        try:
            with path.open("rb") as raw, decompressed(raw) as plain:
                stream = HashingReader(plain)
                made, leans = self._unpack(stream, [])
                digest = stream.digest()
        except BROKEN as error:
            raise Invalid(f"this is no root file system archive: {error}") from None
        if not any((self.staging / made.directory).iterdir()):
            raise Invalid("the root file system archive is empty")
        ((own, leaning),) = keys([digest])
        key = leaning if leans else own
        if not self._has(key):
            self.staged[key] = made
        layer = ArchivedLayer(member="", diff_id=digest)
        return Stacked(image=ArchivedImage(id="", raw_config=b"", names=(), layers=(layer,)), stack=(key,))

    def _has(self, key: str) -> bool:
        return key in self._known or key in self.staged

    def _directory(self, key: str) -> Path:
        made = self.staged.get(key)
        return self.staging / made.directory if made else self._layers / directory_name(key)

    def _unpacked(self, stream: HashingReader, diff_id: str, leaning: str, below: list[str]) -> str:
        try:
            made, leans = self._unpack(stream, [self._directory(key) for key in reversed(below)])
            digest = stream.digest()
        except BROKEN as error:
            raise Invalid(f"a layer is damaged: {error}") from None
        if digest != diff_id:
            raise Invalid(f"a layer does not match its digest {diff_id[:19]}…: the archive is damaged")
        key = leaning if leans else diff_id
        self.staged[key] = made
        return key

    def _unpack(self, stream: HashingReader, below: list[Path]) -> tuple[Staged, bool]:
        target = self.staging / secrets.token_hex(8)
        target.mkdir()
        target.chmod(0o755)
        found = layers.unpack(stream, target, self.budget, below)
        return Staged(directory=target.name, size=found.size), found.leans


def read(job: Job) -> Answer:
    """Do the job. SwarmError says what is wrong with the archive, or with the disk."""
    stager = Stager(job)
    path = Path(job.path)
    if job.rootfs:
        image = stager.rootfs(path)
        return Answer(staged=stager.staged, images=(image,))
    with opened(path, stager.staging / "archive.tar", stager.budget) as archive:
        found = archive.images()
        if len(found) > job.limits.images:
            raise Invalid(f"the archive has more than {job.limits.images} images")
        images = tuple(Stacked(image=image, stack=stager.stack(archive, image)) for image in found)
    return Answer(images=images, staged=stager.staged)


def guarded(job: Job, work: Callable[[Job], Answer]) -> Answer:
    """Whatever happens while a stranger's archive is read is said in one line."""
    try:
        return work(job)
    except SwarmError as error:
        return _failed(type(error).__name__, str(error), error.hint)
    except MemoryError:
        return _failed(
            "Invalid", f"the archive needs more than {job.limits.memory >> 20} MiB of memory to be read"
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _failed("DiskFull", str(limits.full(Path(job.staging))), limits.DiskFull.hint)
        if error.errno == errno.EFBIG:
            return _failed("Invalid", f"the archive holds more than {job.limits.unpacked >> 20} MiB")
        if error.errno is None:  # so bz2 says that its input is damaged
            return _failed("Invalid", f"the archive is damaged: {error}")
        if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
            return _failed("Invalid", f"cannot read {error.filename}: {error.strerror}")
        return _unforeseen(error)
    except Exception as error:  # noqa: BLE001 - the process ends here, and this is its answer
        return _unforeseen(error)


def _unforeseen(error: Exception) -> Answer:
    what = str(error) or type(error).__name__
    return _failed("Invalid", f"the archive cannot be read: {what}", details=traceback.format_exc())


def _failed(kind: str, message: str, hint: str = "", details: str = "") -> Answer:
    line = " ".join(message[:1000].split())
    return Answer(failure=Failure(kind=kind, message=line, hint=hint, details=details[-4000:]))


def _end_with_the_daemon() -> None:
    with suppress(OSError):
        while os.read(0, 1 << 16):
            continue
    os._exit(1)


def main() -> None:
    """One line of JSON in, one out."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    threading.Thread(target=_end_with_the_daemon, daemon=True).start()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    os.umask(0o022)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # rather this process than the daemon
    with suppress(OSError):
        size = Path(job.path).stat().st_size
        limits.enforce(job.limits, size)
    answer = guarded(job, read)
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()
    os._exit(0)  # the thread that listens holds the input
