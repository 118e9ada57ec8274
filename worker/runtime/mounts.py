"""mount(2) and mount namespaces through libc: what containers' root file systems are put together with."""

from __future__ import annotations

import ctypes
import os

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 4096, 16384, 1 << 18, 1 << 19
MNT_DETACH = 2
_CLONE_NEWNS = 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    encoded = [os.fsencode(text) for text in (source, target, kind)]
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), os.fsencode(options) or None), target)


def unmount(target: str) -> bool:
    """Take a mount away, also one in use; False if nothing is mounted there."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH) == 0:
        return True
    number = ctypes.get_errno()
    if number in (2, 22):  # ENOENT, EINVAL: no mount
        return False
    raise OSError(number, os.strerror(number), target)


def enter_private_namespace() -> None:
    """This process sees mounts that the host makes later; the host never sees this process's."""
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    mount("none", "/", "", MS_REC | MS_SLAVE)
