"""Addresses as text, taken apart and put together: `10.0.0.1:2377`, `[fd00::1]:2377` and `10.0.0.2/24`. Pure."""

from __future__ import annotations

import ipaddress

from swarmcore.errors import Invalid, clipped
from swarmcore.text.numbers import whole
from swarmcore.text.patterns import Pattern

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = Pattern(rf"{_LABEL}(?:\.{_LABEL})*\.?", 253)
_LIKE = "write it like 10.0.0.1:2377"


# -- HOST:PORT -------------------------------------------------------------------------------------
def split(address: str) -> tuple[str, int]:
    """Host and port of `10.0.0.1:2377` or `[fd00::1]:2377`; the host may be a name. Invalid for anything else."""
    host, colon, port = address.rpartition(":")
    naked = ":" in host and not (host.startswith("[") and host.endswith("]"))
    number = whole(port, 65535, 1)
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or naked or number is None or not _is_host(host):
        raise Invalid(f"invalid address {clipped(address)}", _LIKE)
    return host, number


def split_or(text: str, default: int) -> tuple[str, int]:
    """Host and port; `default` where the text names no port. What stands for the host is not checked then."""
    if text.count(":") == 1 or text.startswith("["):
        if text.endswith("]"):
            return text[1:-1], default
        return split(text)
    return text, default


def with_port(address: str, default: int) -> str:
    """The address, with a port behind it where it names none: brackets around IPv6. Invalid for a port that is none."""
    host, colon, port = address.rpartition(":")
    if address.count(":") > 1 and not address.startswith("["):
        return joined(address, default)  # an IPv6 address: its last part is no port
    if not colon or address.endswith("]"):
        return f"{address}:{default}"
    if whole(port, 65535, 1) is None or not host:
        raise Invalid(f"invalid address {address!r}", _LIKE)
    return address


def joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(address: str) -> str:
    """The host of an address that `joined` made, without its brackets; nothing is checked."""
    return address.rpartition(":")[0].strip("[]")


def _is_host(text: str) -> bool:
    """An IP address, or a name as DNS knows them."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _NAME.fullmatch(text) is not None
    return True


# -- ADDRESS/PREFIX --------------------------------------------------------------------------------
def bare(address: str) -> str:
    """Without the prefix length that may stand behind it; nothing is checked."""
    return address.partition("/")[0]


def split_prefix(address: str) -> tuple[str, int | None]:
    """The address, and its prefix length if one stands behind it. ValueError for one that is no number."""
    host, _, length = address.partition("/")
    return host, int(length) if length else None
