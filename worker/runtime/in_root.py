"""Open paths inside a root file system that others filled, never following a link out of it.

The standard library only: the spawner runs isolated from the virtual environment.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_SYS_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_IN_ROOT = 0x10
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_in_root(root: int, path: str, flags: int, mode: int = 0, *, links: bool = True) -> int:
    """Open `path` as if `root` were `/`: absolute links and `..` stay below it. Without `links` one is an ELOOP."""
    resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS | (0 if links else _RESOLVE_NO_SYMLINKS)
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    while True:
        fd = int(
            _libc.syscall(_SYS_OPENAT2, root, os.fsencode(path or "."), ctypes.byref(how), ctypes.sizeof(how))
        )
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (4, 11):  # EINTR; EAGAIN: a rename ran beside the walk
            raise OSError(number, os.strerror(number), path)


def read_in_root(root: Path, path: str, limit: int = 1 << 20) -> str:
    """The text of a small file below `root`; empty if it is not there or no plain file."""
    try:
        top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fd = open_in_root(top, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    finally:
        os.close(top)
    with os.fdopen(fd, "rb") as file:
        try:
            return file.read(limit).decode(errors="replace")
        except OSError:  # a directory
            return ""
