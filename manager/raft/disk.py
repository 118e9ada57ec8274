"""One directory on a real disk: private files, durable when they say so, held by one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from manager.raft.interfaces import DiskFile, DiskReader
from swarmcore.files import private_directory

_FILE_MODE = 0o600


class RealDisk:
    """Implements interfaces.Disk. A second process (or a second RealDisk) on the directory gets BlockingIOError."""

    def __init__(self, directory: Path) -> None:
        private_directory(directory)
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise

    def listdir(self) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self._fd))

    def create(self, name: str) -> DiskFile:
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        return _File(os.open(name, flags, _FILE_MODE, dir_fd=self._fd))

    def open(self, name: str) -> DiskReader:
        return _Reader(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd))

    def read(self, name: str) -> bytes:
        reader = _Reader(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd))
        try:
            return reader.read(0, reader.size)
        finally:
            reader.close()

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self._fd)

    def fsync_dir(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        """Let another process have the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _File:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            # A short write means that the disk is about to be full: the next one says so.
            rest = rest[os.write(self._fd, rest) :]

    def fdatasync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class _Reader:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        parts = []
        while size > 0 and (part := os.pread(self._fd, size, offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
