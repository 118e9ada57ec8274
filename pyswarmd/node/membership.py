"""What a node is told when it enters a swarm, and what it keeps on disk about it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from pki.files import remove, write_atomically
from pyswarmd.config import PORT, Settings
from swarmcore.errors import FailedPrecondition, Invalid, Unavailable, clipped
from swarmcore.model.cluster import SwarmSpec
from swarmcore.model.node import Availability
from swarmcore.rpc.messages.session import ManagerAddress
from swarmcore.text.numbers import whole
from swarmcore.text.patterns import Pattern

_MOST_REMOTES = 100
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = Pattern(rf"{_LABEL}(?:\.{_LABEL})*\.?", 253)


class InitOptions(Struct, frozen=True, kw_only=True):
    """POST /swarm/init, as the node takes it; addresses as the user typed them."""

    listen: str = ""
    advertise: str = ""
    data_path: str = ""
    availability: Availability = Availability.ACTIVE
    spec: SwarmSpec = SwarmSpec()
    default_addr_pool: tuple[str, ...] = ()
    subnet_size: int = 0
    data_path_port: int = 0
    force_new_cluster: bool = False


class JoinOptions(Struct, frozen=True, kw_only=True):
    """POST /swarm/join, as the node takes it."""

    listen: str = ""
    advertise: str = ""
    data_path: str = ""
    availability: Availability = Availability.ACTIVE
    remotes: tuple[str, ...] = ()
    token: str = ""

    def __repr__(self) -> str:
        return f"JoinOptions(remotes={self.remotes!r}, ...)"  # the token must not reach a log


class LocalState(Struct, frozen=True, kw_only=True):
    """`node.json`: where this node listens, what it tells others, and the managers it knew last.

    `data_path` is the address for overlay traffic, empty where the one that sessions come from shall do.
    """

    listen: str
    advertise: str
    data_path: str = ""
    managers: tuple[ManagerAddress, ...] = ()

    def save(self, path: Path) -> None:
        write_atomically(path, msgspec.json.encode(self))

    @staticmethod
    def load(path: Path) -> LocalState:
        try:
            return msgspec.json.decode(path.read_bytes(), type=LocalState)
        except FileNotFoundError:
            raise FailedPrecondition(
                f"{path} is missing though this node has a certificate",
                'run "pyswarm leave --force" and join again',
            ) from None
        except msgspec.DecodeError as error:
            raise FailedPrecondition(
                f"{path} is damaged: {error}", 'restore it, or run "pyswarm leave --force" and join again'
            ) from None

    @staticmethod
    def forget(path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            remove(path)


class Status(Struct, frozen=True, kw_only=True):
    """This node's standing, for /info."""

    node_id: str = ""
    address: str = ""
    state: str = "inactive"
    control_available: bool = False
    error: str = ""
    managers: tuple[ManagerAddress, ...] = ()


def split(address: str) -> tuple[str, int]:
    """Host and port of `10.0.0.1:2377` or `[fd00::1]:2377`."""
    host, colon, port = address.rpartition(":")
    bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
    number = whole(port, 65535, 1)
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or bare or number is None or not _is_host(host):
        raise Invalid(f"invalid address {clipped(address)}", "write it like 10.0.0.1:2377")
    return host, number


def check_remotes(addresses: Sequence[str]) -> None:
    """The managers that a node asks to be let in, one after the other."""
    if len(addresses) > _MOST_REMOTES:
        raise Invalid(f"{len(addresses)} manager addresses: at most {_MOST_REMOTES} are tried")
    for address in addresses:
        split(address)


def _is_host(text: str) -> bool:
    """An IP address, or a name as DNS knows them."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _NAME.fullmatch(text) is not None
    return True


def joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def listen_address(text: str) -> tuple[str, int]:
    """Where to listen, of an address, an interface name, either with a port, or nothing."""
    host, port = _host_and_port(text or f"0.0.0.0:{PORT}")
    return await _address_of(host, "listen address"), port


async def advertise_address(text: str, listen: tuple[str, int], remote: str = "") -> str:
    """What other nodes shall dial: what the user said, else the one address that can be meant."""
    if text:
        host, port = _host_and_port(text, listen[1])
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


def _host_and_port(text: str, default: int = PORT) -> tuple[str, int]:
    if text.count(":") == 1 or text.startswith("["):
        if text.endswith("]"):
            return text[1:-1], default
        return split(text)
    return text, default


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
    out, _ = await process.communicate()
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


def check_leave(managers: int, force: bool) -> None:
    """Unavailable unless a manager may leave: raft has so many."""
    if force:
        return
    if managers <= 1:
        raise Unavailable(
            "You are attempting to leave the swarm on the last manager: all state of the swarm would be erased.",
            'use "--force" to leave anyway',
        )
    raise Unavailable(
        "You are attempting to leave the swarm on a node that is participating as a manager.",
        'demote it first ("pyswarm node demote self"), or use "--force"',
    )


def forget(settings: Settings) -> None:
    """Remove every trace of membership from the disk."""
    for folder in (settings.certificates, settings.raft_dir):
        shutil.rmtree(folder, ignore_errors=True)
    LocalState.forget(settings.local_state)
    worker_db = settings.worker_db
    for path in worker_db.parent.glob(f"{worker_db.name}*"):  # with those that were damaged and set aside
        path.unlink(missing_ok=True)
