"""What Linux has names for and services may ask for (capabilities, signals, resource limits), as Docker spells them."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from swarmcore.errors import Invalid, clipped
from swarmcore.text.patterns import Pattern

_DEFAULT_TEXT = """
AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP
SETUID SYS_CHROOT
"""
_OTHERS_TEXT = """
AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND BPF CHECKPOINT_RESTORE DAC_READ_SEARCH IPC_LOCK IPC_OWNER LEASE
LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE NET_ADMIN NET_BROADCAST PERFMON SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE
SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
#: Those that Docker gives to every container, and all that Linux knows.
DEFAULT_CAPABILITIES = frozenset(f"CAP_{name}" for name in _DEFAULT_TEXT.split())
CAPABILITIES = DEFAULT_CAPABILITIES | frozenset(f"CAP_{name}" for name in _OTHERS_TEXT.split())
#: setrlimit(2), under the names of `--ulimit`.
_RLIMITS_TEXT = """
core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack
"""
RLIMITS = frozenset(_RLIMITS_TEXT.split())
_REALTIME = Pattern(r"SIGRT(MIN\+|MAX-)([0-9]{1,2})", 16)
_SHOWN = 60  # characters of a name that means nothing
_OLD_SIGNALS = {"SIGUNUSED": signal.SIGSYS}


def capability_names(names: Iterable[str]) -> tuple[bool, frozenset[str]]:
    """Whether ALL is among `names`, and the others in full; Invalid names one that Linux does not have."""
    upper = {name.strip().upper() for name in names}
    full = {name if name.startswith("CAP_") else f"CAP_{name}" for name in upper}
    everything = "CAP_ALL" in full
    full.discard("CAP_ALL")
    if unknown := sorted(full - CAPABILITIES):
        raise Invalid(f"unknown capability {unknown[0][:_SHOWN]}")
    return everything, frozenset(full)


def signal_number(text: str) -> int:
    """Of SIGTERM, TERM, 15 or SIGRTMIN+3, in any case."""
    wanted = text.strip().upper()
    if wanted.isascii() and wanted.isdigit() and len(wanted) <= 2 and 0 < int(wanted) <= signal.SIGRTMAX:
        return int(wanted)
    name = wanted if wanted.startswith("SIG") else f"SIG{wanted}"
    if match := _REALTIME.fullmatch(name):
        number = int(match[2])
        found = signal.SIGRTMIN + number if match[1] == "MIN+" else signal.SIGRTMAX - number
        if signal.SIGRTMIN <= found <= signal.SIGRTMAX:
            return found
    elif name in signal.Signals.__members__:
        return signal.Signals[name]
    elif name in _OLD_SIGNALS:
        return _OLD_SIGNALS[name]
    raise Invalid(f"invalid stop signal {clipped(text)}", "name one such as SIGTERM")
