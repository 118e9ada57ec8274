"""Local volumes: directories that outlive the containers that use them."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from swarmcore.clock import utc_now
from swarmcore.errors import Conflict, Invalid, NotFound
from swarmcore.files import write_atomically
from worker.runtime.in_root import open_in_root

_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Volume(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    created: datetime
    labels: dict[str, str] = {}
    anonymous: bool = False


class Volumes:
    """Blocking file work, all of it small but `fill`: call it in a thread."""

    def __init__(self, directory: Path, now: Callable[[], datetime] = utc_now) -> None:
        self._directory = directory
        self._now = now
        self._users: dict[str, set[str]] = {}

    def _folder(self, name: str) -> Path:
        if len(name) < 2 or not set(name) <= _ALLOWED or not name[0].isalnum():
            raise Invalid(
                f"invalid volume name {name!r}: two or more letters, digits, '_', '.' and '-' are allowed"
            )
        return self._directory / name

    def path(self, name: str) -> Path:
        return self._folder(name) / "_data"

    def ensure(self, name: str = "", labels: Mapping[str, str] | None = None) -> Volume:
        """The volume of that name, made if it is not there; without a name a new anonymous one."""
        wanted = name or secrets.token_hex(32)
        if (found := self._read(wanted)) is not None:
            return found
        volume = Volume(name=wanted, created=self._now(), labels=dict(labels or {}), anonymous=not name)
        self.path(wanted).mkdir(parents=True, exist_ok=True, mode=0o755)
        write_atomically(self._folder(wanted) / "volume.json", msgspec.json.encode(volume), durable=False)
        return volume

    def _read(self, name: str) -> Volume | None:
        try:
            return msgspec.json.decode((self._folder(name) / "volume.json").read_bytes(), type=Volume)
        except FileNotFoundError:
            return None

    def get(self, name: str) -> Volume:
        if (found := self._read(name)) is None:
            raise NotFound(f"no such volume: {name}")
        return found

    def list(self) -> tuple[Volume, ...]:
        if not self._directory.is_dir():
            return ()
        found = (self._read(folder.name) for folder in sorted(self._directory.iterdir()))
        return tuple(volume for volume in found if volume is not None)

    def hold(self, name: str, container_id: str) -> None:
        self._users.setdefault(name, set()).add(container_id)

    def release(self, container_id: str, keep: Collection[str] = ()) -> None:
        """The container uses no volume any more, but those to be kept for it."""
        for name, users in self._users.items():
            if name not in keep:
                users.discard(container_id)

    def remove(self, name: str) -> None:
        self.get(name)
        if self._users.get(name):
            raise Conflict(f"volume {name} is in use by {len(self._users[name])} container(s)")
        shutil.rmtree(self._folder(name))

    def fill(self, name: str, root: Path, target: str) -> None:
        """A new volume starts with what the image has at its place, as Docker does it."""
        data = self.path(name)
        if any(data.iterdir()):
            return
        top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            source = open_in_root(top, target.strip("/"), os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return
        finally:
            os.close(top)
        try:
            _copy(Path(f"/proc/self/fd/{source}"), data)
        finally:
            os.close(source)


def _copy(source: Path, target: Path) -> None:
    """Copy a directory's content with owners and modes; special files stay behind."""
    for entry in os.scandir(source):
        made = target / entry.name
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            made.symlink_to(Path(entry.path).readlink())
        elif stat.S_ISDIR(found.st_mode):
            made.mkdir()
            _copy(Path(entry.path), made)
        elif stat.S_ISREG(found.st_mode):
            shutil.copyfile(entry.path, made, follow_symlinks=False)
        else:
            continue
        os.chown(made, found.st_uid, found.st_gid, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            made.chmod(stat.S_IMODE(found.st_mode))
            shutil.copystat(entry.path, made, follow_symlinks=False)
    top = source.stat()
    os.chown(target, top.st_uid, top.st_gid)
    target.chmod(stat.S_IMODE(top.st_mode))
