"""What the layers of an image show together at a path, as overlayfs merges them: for a layer that leans on lower ones.

A layer may leave out the directories above what it brings, reach through a link of a lower layer, or link to a file
there. Nothing is mounted for that; layers are only looked at, component by component, and no link leads out of them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Sequence

from msgspec import Struct

OPAQUE_XATTR = "trusted.overlay.opaque"
_MOST_LINKS = 40


class Place(Struct, frozen=True, kw_only=True):
    """A path without links, where it leads: `layers` (0 is the highest) have it, none if nothing is there."""

    parts: tuple[str, ...]
    layers: tuple[int, ...]
    found: os.stat_result | None


def is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


class Merged:
    """Layers as descriptors of their directories, the highest first; only the highest may change meanwhile.

    Whoever gives them sees to it that no lower one hides all below it (see `is_opaque`).
    """

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = roots

    def find(self, parts: Sequence[str], *, follow_last: bool = True) -> Place:
        """Where `parts` lead. What is missing has no layers; a file of a lower layer gives way to a directory.

        NotADirectoryError where the highest layer has a file in the middle, ELOOP for links that lead to each other.
        """
        todo, links = deque(parts), 0
        here: list[str] = []
        everything = range(1 if is_opaque(f"/proc/self/fd/{self._roots[0]}") else len(self._roots))
        trail: list[tuple[int, ...]] = [tuple(everything)]
        while todo:
            name = todo.popleft()
            if name in ("", "."):
                continue
            if name == "..":
                if here:
                    here.pop()
                    trail.pop()
                continue
            layers, found = self._look(trail[-1], here, name)
            if found is not None and stat.S_ISLNK(found.st_mode) and (todo or follow_last):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), "/".join(parts))
                target = os.readlink("/".join((*here, name)), dir_fd=self._roots[layers[0]])
                if target.startswith("/"):
                    here, trail = [], trail[:1]
                todo.extendleft(reversed(target.split("/")))
                continue
            if found is not None and todo and not stat.S_ISDIR(found.st_mode):
                if layers[0] == 0:
                    raise NotADirectoryError(
                        errno.ENOTDIR, os.strerror(errno.ENOTDIR), "/".join((*here, name))
                    )
                layers = ()
            here.append(name)
            trail.append(layers)
        layers = trail[-1]
        found = os.lstat("/".join(here) or ".", dir_fd=self._roots[layers[0]]) if layers else None
        return Place(parts=tuple(here), layers=layers, found=found)

    def _look(
        self, visible: Sequence[int], here: Sequence[str], name: str
    ) -> tuple[tuple[int, ...], os.stat_result | None]:
        """The layers among `visible` that show `name` in the directory `here`; several only for a directory."""
        path = "/".join((*here, name))
        layers: list[int] = []
        first: os.stat_result | None = None
        for layer in visible:
            try:
                found = os.lstat(path, dir_fd=self._roots[layer])
            except FileNotFoundError:
                continue
            if is_whiteout(found):
                break
            if not stat.S_ISDIR(found.st_mode):
                if first is None:
                    return (layer,), found
                break
            first = first or found
            layers.append(layer)
            if self._is_opaque(layer, path):
                break
        return tuple(layers), first

    def _is_opaque(self, layer: int, path: str) -> bool:
        fd = os.open(
            path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._roots[layer]
        )
        try:
            return is_opaque(fd)
        finally:
            os.close(fd)


def is_opaque(directory: int | str | os.PathLike[str]) -> bool:
    try:
        return os.getxattr(directory, OPAQUE_XATTR) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
