"""Bring what a lower layer has into the layer above it, with its attributes, as overlayfs does on a write."""

from __future__ import annotations

import errno
import os
import stat

from worker.images.limits import Budget

_CHUNK = 1 << 18
KEPT_XATTRS = ("user.", "security.capability")
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC


def directory(source: int, target: int, path: str, found: os.stat_result) -> None:
    """Give the new directory `path` below `target` the attributes of the one below `source`, but not its times."""
    inner = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FILE, dir_fd=source)
    try:
        outer = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FILE, dir_fd=target)
        try:
            _attributes(inner, outer, found)
        finally:
            os.close(outer)
    finally:
        os.close(inner)


def file(source: int, path: str, parent: int, name: str, found: os.stat_result, budget: Budget) -> None:
    """Make `name` in the directory `parent` what `path` below `source` is: anything but a directory."""
    if stat.S_ISREG(found.st_mode):
        _content(source, path, parent, name, found, budget)
    elif stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(path, dir_fd=source), name, dir_fd=parent)
        os.chown(name, found.st_uid, found.st_gid, dir_fd=parent, follow_symlinks=False)
    else:
        os.mknod(name, stat.S_IFMT(found.st_mode) | 0o600, found.st_rdev, dir_fd=parent)
        os.chown(name, found.st_uid, found.st_gid, dir_fd=parent, follow_symlinks=False)
        os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=parent)
    times = (found.st_mtime_ns, found.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)


def _content(source: int, path: str, parent: int, name: str, found: os.stat_result, budget: Budget) -> None:
    inner = os.open(path, os.O_RDONLY | _FILE, dir_fd=source)
    with os.fdopen(inner, "rb") as reading:
        outer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=parent)
        with os.fdopen(outer, "wb") as writing:
            while chunk := reading.read(_CHUNK):
                budget.write(len(chunk))
                writing.write(chunk)
            writing.flush()
            _attributes(inner, outer, found)


def _attributes(inner: int, outer: int, found: os.stat_result) -> None:
    os.fchown(outer, found.st_uid, found.st_gid)
    os.fchmod(outer, stat.S_IMODE(found.st_mode))
    for key in os.listxattr(inner):
        if key.startswith(KEPT_XATTRS):
            try:
                os.setxattr(outer, key, os.getxattr(inner, key))
            except OSError as error:
                if error.errno != errno.ENOTSUP:
                    raise
