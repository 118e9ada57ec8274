"""Where a node listens, what other nodes shall dial, where overlay traffic goes: of what the user typed, or nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Sequence

from pyswarmd.config import PORT
from swarmcore.addresses import joined, split, split_or
from swarmcore.errors import FailedPrecondition, Invalid, clipped
from swarmcore.process.children import communicate

FIRST_PORT, LAST_PORT = 1024, 49151  # of overlay traffic
_MOST_REMOTES = 100


def check_remotes(addresses: Sequence[str]) -> None:
    """The managers that a node asks to be let in, one after the other."""
    if len(addresses) > _MOST_REMOTES:
        raise Invalid(f"{len(addresses)} manager addresses: at most {_MOST_REMOTES} are tried")
    for address in addresses:
        split(address)


async def listen_address(text: str) -> tuple[str, int]:
    """Where to listen, of an address, an interface name, either with a port, or nothing."""
    host, port = split_or(text or f"0.0.0.0:{PORT}", PORT)
    return await _address_of(host, "listen address"), port


async def advertise_address(text: str, listen: tuple[str, int], remote: str = "") -> str:
    """What other nodes shall dial: what the user said, else the one address that can be meant."""
    if text:
        host, port = split_or(text, listen[1])
        address = await _address_of(host, "advertise address")
        if ipaddress.ip_address(address).is_unspecified:
            raise Invalid(
                "advertise address must be a non-zero IP address or network interface (with optional port number)"
            )
        return joined(address, port)
    if not ipaddress.ip_address(listen[0]).is_unspecified:
        return joined(*listen)
    if remote:
        # In a thread: a name may have to be looked up.
        return joined(await asyncio.to_thread(_source_towards, *split(remote)), listen[1])
    found = await _own_addresses()
    if len(found) != 1:
        listed = ", ".join(found) or "none"
        raise Invalid(
            f"could not choose an IP address to advertise since this system has not exactly one: {listed}",
            "name one with --advertise-addr",
        )
    return joined(found[0], listen[1])


async def data_path_address(text: str) -> str:
    """Where other hosts shall send overlay traffic: of an IP address or an interface name; nothing for nothing."""
    if not text:
        return ""
    address = await _address_of(text, "data path address")
    if ipaddress.ip_address(address).is_unspecified:
        raise Invalid(
            "data path address must be a non-zero IP address or network interface (without a port number)"
        )
    return address


def check_data_path_port(port: int) -> None:
    """0 stands for the default. Above 49151 the kernel may have lent the port to somebody else (RFC 6335)."""
    if port and not FIRST_PORT <= port <= LAST_PORT:
        raise Invalid(f"Datapath port number is not in valid range ({FIRST_PORT}-{LAST_PORT}) : {port}")


async def _address_of(host: str, what: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    found = await _own_addresses(host)
    if not found:
        raise Invalid(f"{what} {clipped(host)} is neither an IP address nor an interface with one")
    return found[0]


async def _own_addresses(interface: str = "") -> list[str]:
    """Global IPv4 addresses of this host, or those of one interface."""
    try:
        process = await asyncio.create_subprocess_exec(
            *("ip", "-json", "-4", "address", "show", "scope", "global"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise FailedPrecondition(
            "cannot look up this host's addresses: the command 'ip' is missing", "install iproute2"
        ) from None
    out, _ = await communicate(process)
    links = json.loads(out or b"[]")
    return [
        entry["local"]
        for link in links
        if not interface or link.get("ifname") == interface
        for entry in link.get("addr_info", [])
    ]


def _source_towards(host: str, port: int) -> str:
    """The address this host would use to reach `host`; connecting a UDP socket sends nothing. Blocking."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))
            return str(probe.getsockname()[0])
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "the name cannot be looked up"
        raise Invalid(f"cannot reach {joined(host, port)}: {why}", "check the address") from None
