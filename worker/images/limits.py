"""What an archive may cost: strangers write them, and small ones can hold much."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from msgspec import Struct

from swarmcore.errors import Invalid, SwarmError

_MIB = 1 << 20
_ASK_AGAIN = 64 * _MIB  # bytes written between two looks at the disk


class DiskFull(SwarmError):
    hint = 'free some space; "pyswarm image rm IMAGE" removes one that is not used'


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of the process that reads one archive."""

    memory: int = 768 * _MIB  # bytes of address space; zstd and xz windows are at most 128 MiB of it
    unpacked: int = 512 << 30  # bytes of all files
    entries: int = 4_000_000
    images: int = 1_000
    # Of the processor: enough for the slowest compression, while a bomb is small.
    seconds: int = 120
    seconds_per_mib: float = 2.0
    # What stays free on the disk: of this share and this size the smaller one.
    reserve_share: float = 0.02
    reserve: int = 512 * _MIB

    def processor_seconds(self, archive_size: int) -> int:
        return self.seconds + int(self.seconds_per_mib * archive_size / _MIB)


class Budget:
    """Counts what one archive costs, and says when it is too much."""

    def __init__(self, limits: Limits, directory: Path) -> None:
        self._limits, self._directory = limits, directory
        self._entries = self._bytes = 0
        self._unseen = _ASK_AGAIN  # the first look is before the first byte

    def entry(self) -> None:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise Invalid(f"the archive has more than {self._limits.entries} entries")

    def write(self, size: int) -> None:
        """`size` more bytes are about to be written."""
        self._bytes += size
        if self._bytes > self._limits.unpacked:
            raise Invalid(f"the archive holds more than {self._limits.unpacked >> 20} MiB")
        self._unseen += size
        if self._unseen >= _ASK_AGAIN:
            self._unseen = 0
            disk = os.statvfs(self._directory)
            reserve = min(
                self._limits.reserve, int(disk.f_frsize * disk.f_blocks * self._limits.reserve_share)
            )
            if disk.f_frsize * disk.f_bavail < reserve:
                raise full(self._directory)


def full(directory: Path) -> DiskFull:
    return DiskFull(f"no space left on the disk of {directory}; nothing was changed")


def enforce(limits: Limits, archive_size: int) -> None:
    """Bind this process, for good."""
    seconds = limits.processor_seconds(archive_size)
    for what, most in (
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, limits.unpacked),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (value, value))
