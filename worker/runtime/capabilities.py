"""Which capabilities a container has: Docker's fourteen, changed by what the spec adds and drops."""

from __future__ import annotations

from collections.abc import Iterable

from swarmcore.errors import Invalid

_DEFAULT_TEXT = """
AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP
SETUID SYS_CHROOT
"""
_OTHERS_TEXT = """
AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND BPF CHECKPOINT_RESTORE DAC_READ_SEARCH IPC_LOCK IPC_OWNER LEASE
LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE NET_ADMIN NET_BROADCAST PERFMON SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE
SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
DEFAULT = frozenset(f"CAP_{name}" for name in _DEFAULT_TEXT.split())
_ALL = DEFAULT | frozenset(f"CAP_{name}" for name in _OTHERS_TEXT.split())


def _named(names: Iterable[str]) -> tuple[bool, frozenset[str]]:
    """Whether ALL is among `names`, and the others in full."""
    full = {name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}" for name in names}
    everything = "CAP_ALL" in full
    full.discard("CAP_ALL")
    if unknown := sorted(full - _ALL):
        raise Invalid(f"unknown capability {unknown[0]}")
    return everything, frozenset(full)


def effective(add: Iterable[str], drop: Iterable[str]) -> frozenset[str]:
    add_all, added = _named(add)
    drop_all, dropped = _named(drop)
    if add_all:
        return _ALL - dropped
    base = frozenset() if drop_all else DEFAULT
    return (base - dropped) | added
