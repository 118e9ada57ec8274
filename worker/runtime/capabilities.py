"""Which capabilities a container has: Docker's fourteen, changed by what the spec adds and drops.

No container can have what this host's daemon does not have itself: an old kernel lacks some, and so does a daemon
in a container. What everybody gets without asking (the defaults, ALL) is cut down to that; what is asked for by
its name is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from swarmcore.errors import Invalid
from swarmcore.model.linux import CAPABILITIES, DEFAULT_CAPABILITIES, capability_names

# Bit numbers, linux/capability.h.
_BITS = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_NAMES = tuple(f"CAP_{name}" for name in _BITS.split())
_STATUS = Path("/proc/self/status")


def named_in(mask: int) -> frozenset[str]:
    """The capabilities whose bits are set in `mask`, as far as they have names."""
    return frozenset(name for bit, name in enumerate(_NAMES) if mask >> bit & 1)


@cache
def of_host(status: Path = _STATUS) -> frozenset[str]:
    """This process' bounding set: the most that its children can have. Blocking."""
    for line in status.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "CapBnd":
            return named_in(int(value, 16))
    return CAPABILITIES  # a kernel that does not say: let the runtime find out


def effective(
    add: Iterable[str], drop: Iterable[str], available: frozenset[str] = CAPABILITIES
) -> frozenset[str]:
    """`available` is what the host has; Invalid names what was asked for by name and is not there."""
    add_all, added = capability_names(add)
    drop_all, dropped = capability_names(drop)
    if missing := sorted(added - available):
        raise Invalid(f"this host does not have the capability {missing[0]}")
    if add_all:
        return available - dropped
    base = frozenset() if drop_all else DEFAULT_CAPABILITIES & available
    return (base - dropped) | added
