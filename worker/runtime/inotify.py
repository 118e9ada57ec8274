"""File events without polling: one inotify descriptor for all watchers of an event loop."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

IN_MODIFY, IN_MOVED_TO, IN_CLOSE_WRITE, IN_CREATE = 0x2, 0x80, 0x8, 0x100
IN_MOVE_SELF, IN_DELETE_SELF, IN_ATTRIB = 0x800, 0x400, 0x4
_IN_IGNORED, _IN_Q_OVERFLOW = 0x8000, 0x4000
_IN_MASK_ADD = 0x20000000
_HEAD = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)
Callback = Callable[[str], None]


class Inotify:
    """`watch` calls back with the name of the file inside a watched directory (empty for the file itself)."""

    def __init__(self) -> None:
        self._fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "inotify")
        # The kernel keeps one watch per inode: several callers may share it.
        self._callbacks: dict[int, list[Callback]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def watch(self, path: Path, mask: int, callback: Callback) -> Callable[[], None]:
        """Watch until the returned function is called."""
        wd = int(_libc.inotify_add_watch(self._fd, os.fsencode(path), mask | _IN_MASK_ADD))
        if wd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
        self._callbacks.setdefault(wd, []).append(callback)

        def stop() -> None:
            callbacks = self._callbacks.get(wd, [])
            if callback in callbacks:
                callbacks.remove(callback)
            if wd in self._callbacks and not callbacks:
                del self._callbacks[wd]
                if self._fd >= 0:
                    _libc.inotify_rm_watch(self._fd, wd)

        return stop

    def _read(self) -> None:
        try:
            events = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(events):
            wd, mask, _, size = _HEAD.unpack_from(events, offset)
            name = events[offset + _HEAD.size : offset + _HEAD.size + size].rstrip(b"\0")
            offset += _HEAD.size + size
            callbacks = list(self._callbacks.get(wd, ()))
            if mask & _IN_Q_OVERFLOW:  # events were lost: everyone looks again
                callbacks = [callback for group in self._callbacks.values() for callback in group]
            if mask & _IN_IGNORED:
                self._callbacks.pop(wd, None)
            for callback in callbacks:
                callback(os.fsdecode(name))

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._callbacks.clear()
