"""Stack the layers of an image with overlayfs, however many it has; the standard library only, for the spawner.

Three facts of the kernel decide how: it refuses the same directory twice (ELOOP), mount(2) takes one page of
options, and an overlay has at most 500 lower directories, given one by one since Linux 6.7.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from worker.runtime.mounts import mount, unmount

MOST = 500  # OVL_MAX_STACK
_PAGE = resource.getpagesize()
_LONGEST_VALUE = 255  # of one fsconfig(2)
# The same numbers on every architecture.
_SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 429, 430, 431, 432
_SET_STRING, _CREATE = 1, 6
_CLOEXEC, _EMPTY_PATH, _AT_FDCWD = 1, 4, -100
_libc = ctypes.CDLL(None, use_errno=True)


def distinct(layers: Sequence[str]) -> list[str]:
    """`layers` (from the lowest up) with the highest of equal ones only.

    That changes nothing: whatever the lower one brings or hides, its twin brings or hides again above it.
    """
    last = {layer: position for position, layer in enumerate(layers)}
    return [layer for position, layer in enumerate(layers) if last[layer] == position]


def mount_layers(
    layers: Sequence[str], target: str, *, upper: str, work: str, below: str, one_by_one: bool = True
) -> None:
    """Mount `layers` (from the lowest up, relative to the working directory) at `target`; writes go to `upper`.

    What one mount does not take is stacked in two, for which the directory `below` serves a moment: the lower part,
    read-only, is the lowest layer of the rest, which keeps what it needs of it. Overlays lie on overlays one deep only,
    so there is no third step. `one_by_one=False`: as on a kernel that lacks that.
    """
    stack, modern = distinct(layers), one_by_one and takes_one_by_one()
    if _has_room(stack, upper, work, modern):
        _lay(stack, target, upper, work)
        return
    split = max((n for n in range(2, len(stack)) if _has_room(stack[:n], "", "", modern)), default=0)
    rest = [below, *stack[split:]]
    if not _has_room(rest, upper, work, modern):
        raise OSError(errno.E2BIG, f"this kernel cannot stack the {len(stack)} layers of the image", target)
    os.makedirs(below, exist_ok=True)  # noqa: PTH103 - pathlib is not worth its start-up here
    _lay(stack[:split], below, "", "")
    try:
        _lay(rest, target, upper, work)
    finally:
        unmount(below)


def _options(stack: Sequence[str], upper: str, work: str) -> str:
    lower = "lowerdir=" + ":".join(_quoted(layer).replace(":", "\\:") for layer in reversed(stack))
    return f"{lower},upperdir={_quoted(upper)},workdir={_quoted(work)}" if upper else lower


def _quoted(path: str) -> str:
    return path.replace("\\", "\\\\").replace(",", "\\,")


def _fits_a_page(stack: Sequence[str], upper: str, work: str) -> bool:
    return len(os.fsencode(_options(stack, upper, work))) < _PAGE


def _has_room(stack: Sequence[str], upper: str, work: str, modern: bool) -> bool:
    return len(stack) <= MOST and (modern or _fits_a_page(stack, upper, work))


def _lay(stack: Sequence[str], target: str, upper: str, work: str) -> None:
    if _fits_a_page(stack, upper, work):
        mount("overlay", target, "overlay", options=_options(stack, upper, work))
    else:
        _mount_one_by_one(stack, target, upper, work)


# -- the mount API of Linux 5.2, with what overlayfs takes since 6.7 -------------------------------------
def _call(what: str, number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result


def _set(context: int, key: str, value: str) -> None:
    _call(f"{key}={value}", _SYS_FSCONFIG, context, _SET_STRING, os.fsencode(key), os.fsencode(value), 0)


@contextmanager
def _context() -> Iterator[int]:
    context = _call("overlay", _SYS_FSOPEN, b"overlay", _CLOEXEC)
    try:
        yield context
    finally:
        os.close(context)


@cache
def takes_one_by_one() -> bool:
    """Does the kernel look at `lowerdir+`? Older ones refuse the word, or believe any until the mount."""
    try:
        with _context() as context:
            _set(context, "lowerdir+", "/proc/self/no such layer")
    except OSError as error:
        return error.errno == errno.ENOENT
    return False


def _mount_one_by_one(stack: Sequence[str], target: str, upper: str, work: str) -> None:
    with _context() as context:
        for layer in reversed(stack):
            _set(context, "lowerdir+", layer)
        opened: list[int] = []
        try:
            for key, path in (("upperdir", upper), ("workdir", work)):
                if len(os.fsencode(path)) > _LONGEST_VALUE:
                    opened.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                    path = f"/proc/self/fd/{opened[-1]}"
                if path:
                    _set(context, key, path)
            _call("overlay", _SYS_FSCONFIG, context, _CREATE, None, None, 0)
        finally:
            for fd in opened:
                os.close(fd)
        made = _call("overlay", _SYS_FSMOUNT, context, _CLOEXEC, 0)
        try:
            _call(target, _SYS_MOVE_MOUNT, made, b"", _AT_FDCWD, os.fsencode(target), _EMPTY_PATH)
        finally:
            os.close(made)
