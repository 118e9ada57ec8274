"""The text of a container's hosts file, and the texts of the host's own /etc."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_LOCAL = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "ff00::0\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)


def hosts(extra: Sequence[str], hostname: str, address: str = "127.0.0.1") -> str:
    """`extra` has lines `IP name…`, as plans have them; the container's own name is at `address`."""
    lines = [*_LOCAL, f"{address}\t{hostname}"]
    for entry in extra:
        address, *names = entry.split() or [""]
        if names:  # as Docker: a line without a name says nothing
            lines.append(f"{address}\t{' '.join(names)}")
    return "\n".join(lines) + "\n"


def host_text(path: str) -> str:
    """A file of the host, "" if it is not there."""
    try:
        return Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return ""
