"""A disk that forgets: what was not synced may be lost or torn when the power goes; any operation may fail."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

_SECTOR = 512

#: Called with the name of an operation before it, and with the name and " done" after it. It may raise Crash, or,
#: before the operation, OSError.
Hook = Callable[[str], None]


class Crash(BaseException):
    """The process dies here."""


def no_hook(operation: str) -> None:
    """Nothing happens."""


class _Inode:
    """Files only grow, so how much of one is durable is a number."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = 0
        self.given_up = False  # a sync failed: the kernel takes the data for clean now, and later syncs lie


_Change = dict[str, _Inode | None]


def _apply(change: _Change, names: dict[str, _Inode]) -> None:
    for name, inode in change.items():
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


class SimDisk:
    """Implements interfaces.Disk. `crash` and go on with it as the next process would."""

    def __init__(self, random: Random | None = None) -> None:
        self.random = random or Random(0)
        self.hook: Hook = no_hook
        self.life = 0
        self._dead = False
        self._names: dict[str, _Inode] = {}
        self._durable: dict[str, _Inode] = {}
        self._changes: list[_Change] = []  # of names, since fsync_dir; each happens whole or not at all

    # ------------------------------------------------------------------------ faults
    def crash(self, *, power: bool = True) -> None:
        """The process is gone; with `power`, so is what was not synced, in any of the ways in which disks do that."""
        self.life += 1
        self._dead = False
        self.hook = no_hook
        if not power:
            return  # kill -9: the kernel still has everything, none of it more durable than before
        changes, self._changes = self._changes, []
        if self.random.random() < 0.5:
            changes = changes[: self.random.randint(0, len(changes))]
        else:
            changes = [change for change in changes if self.random.random() < 0.5]
        for change in changes:
            _apply(change, self._durable)
        self._names = dict(self._durable)
        for inode in self._names.values():
            tail = bytes(inode.data[inode.synced :])
            inode.data[inode.synced :] = b"" if inode.given_up else self._torn(tail, inode.synced)
            inode.synced = len(inode.data)
            inode.given_up = False

    def _torn(self, tail: bytes, offset: int) -> bytes:
        """What may be left of appended bytes: a part, with or without the file's new size, or only some sectors."""
        keep = self.random.randint(0, len(tail))
        match self.random.randrange(6):
            case 0:
                return b""
            case 1:
                return tail
            case 2:
                return tail[:keep]
            case 3:
                return tail[:keep] + bytes(len(tail) - keep)
        left = bytearray(tail if self.random.random() < 0.5 else tail[:keep])
        for start in range(offset - offset % _SECTOR, offset + len(left), _SECTOR):
            if self.random.random() < 0.5:
                begin, end = max(0, start - offset), min(len(left), start + _SECTOR - offset)
                left[begin:end] = bytes(end - begin)
        return bytes(left)

    def flip(self, name: str, bit: int) -> None:
        self._names[name].data[bit // 8] ^= 1 << bit % 8

    def cut(self, name: str, size: int) -> None:
        del self._names[name].data[size:]

    def operation(self, name: str) -> None:
        if self._dead:
            raise Crash(name)  # cleaning up is for the living
        try:
            self.hook(name)
        except Crash:
            self._dead = True
            raise

    # ------------------------------------------------------------------------ names
    def _change(self, change: _Change) -> None:
        _apply(change, self._names)
        self._changes.append(change)

    def _inode(self, name: str) -> _Inode:
        if name not in self._names:
            raise FileNotFoundError(name)
        return self._names[name]

    def listdir(self) -> list[str]:
        return sorted(self._names)

    def create(self, name: str) -> SimFile:
        self.operation("create")
        inode = _Inode()
        self._change({name: inode})
        self.operation("create done")
        return SimFile(self, inode)

    def open(self, name: str) -> SimReader:
        return SimReader(self._inode(name))

    def read(self, name: str) -> bytes:
        return bytes(self._inode(name).data)

    def rename(self, old: str, new: str) -> None:
        self.operation("rename")
        self._change({old: None, new: self._inode(old)})  # in this order: they may be one name
        self.operation("rename done")

    def unlink(self, name: str) -> None:
        self.operation("unlink")
        self._inode(name)
        self._change({name: None})
        self.operation("unlink done")

    def fsync_dir(self) -> None:
        self.operation("fsync_dir")
        self._durable = dict(self._names)
        self._changes = []
        self.operation("fsync_dir done")


class SimFile:
    """Open for appending, in the process that opened it."""

    def __init__(self, disk: SimDisk, inode: _Inode) -> None:
        self.disk = disk
        self._inode = inode
        self._life = disk.life

    def _operation(self, name: str) -> None:
        assert self._life == self.disk.life, "a dead process writes"
        self.disk.operation(name)

    def write(self, data: bytes) -> None:
        try:
            self._operation("write")
        except OSError:
            self._inode.data += data[: self.disk.random.randint(0, len(data))]
            raise
        self._inode.data += data
        self._operation("write done")

    def fdatasync(self) -> None:
        try:
            self._operation("fdatasync")
        except OSError:
            self._inode.given_up = True
            raise
        if not self._inode.given_up:
            self._inode.synced = len(self._inode.data)
        self._operation("fdatasync done")

    def close(self) -> None:
        """Closing makes nothing durable."""


class SimReader:
    """Stays readable, whatever happens to the name."""

    def __init__(self, inode: _Inode) -> None:
        self._inode = inode

    @property
    def size(self) -> int:
        return len(self._inode.data)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self._inode.data[offset : offset + size])

    def close(self) -> None:
        """Nothing to give back."""
