"""What this host needs to be a node, and what it may lack: tools, control groups, kernel features, ports."""

from __future__ import annotations

import errno
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from netoverlay.features import Feature, features
from pyswarmd.config import PORT
from swarmcore.errors import FailedPrecondition
from worker.runtime.cgroups import Cgroups
from worker.runtime.descriptors import PER_CONTAINER, Descriptors, in_use, most
from worker.runtime.tools import preflight

_DATA_PATH_PORT = 4789
_FEW_CONTAINERS = 100  # that a node of its own has room for at least
_LEGACY = {
    "iptables-legacy": "/proc/thread-self/net/ip_tables_names",
    "ip6tables-legacy": "/proc/thread-self/net/ip6_tables_names",
}


class Finding(Struct, frozen=True, kw_only=True):
    """`state`: `ok`, `in use`, `absent` (optional, does not work), `missing` (the node does not work) or `in trouble`
    (a daemon runs, and says so itself)."""

    name: str
    state: str
    purpose: str
    detail: str = ""


def diagnose(run_dir: Path) -> list[Finding]:
    """Try everything. Blocking; needs root. What it makes is removed again."""
    folder = run_dir / "doctor"
    try:
        return [
            *_tools(),
            *_ports(),
            descriptors(run_dir / "daemon.pid"),
            *(of_feature(feature) for feature in features(folder)),
            *legacy_firewalls(),
        ]
    finally:
        folder.rmdir()


def of_daemon(info: Mapping[str, Any]) -> Iterator[Finding]:
    """What a daemon that runs here says of itself in /info: a clock that runs against the managers', a full disk, …"""
    for trouble in filter(None, (info.get("Swarm") or {}).get("Error", "").split("; ")):
        part, colon, text = trouble.partition(": ")
        yield Finding(
            name=part if colon else "daemon",
            state="in trouble",
            purpose="this node's part in the swarm",
            detail=text if colon else trouble,
        )


def of_feature(feature: Feature) -> Finding:
    if not feature.missing:
        return Finding(name=feature.name, state="ok", purpose=feature.purpose)
    return Finding(
        name=feature.name,
        state="missing" if feature.needed else "absent",
        purpose=feature.purpose,
        detail=f"{feature.missing}: {feature.hint}",
    )


def descriptors(pid_file: Path) -> Finding:
    """Whether the daemon that runs, or one that was started from here, has file descriptors for containers."""
    found = _of_daemon(pid_file)
    limit, used = found or (most(), 0)
    room = Descriptors(lambda: limit, lambda: used).room()
    whose = f"the daemon uses {used} of {limit}" if found else f"a daemon started here may have {limit}"
    enough = room >= (1 if found else _FEW_CONTAINERS)
    hint = "" if enough else "; raise the hard limit it is started with (ulimit -Hn, LimitNOFILE=)"
    return Finding(
        name="file descriptors",
        state="ok" if enough else "missing",
        purpose=f"{PER_CONTAINER} for each container",
        detail=f"{whose}: room for {room} {'more ' if found else ''}containers{hint}",
    )


def _of_daemon(pid_file: Path) -> tuple[int, int] | None:
    """Limit and use of the daemon that wrote the file; None if it does not run."""
    try:
        pid = int(pid_file.read_text())
        return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0], in_use(str(pid))
    except (OSError, ValueError):
        return None


def legacy_firewalls() -> Iterator[Finding]:
    """The old iptables, where it is in use: nftables neither shows nor opens its chains."""
    for program, registered in _LEGACY.items():
        try:
            tables = Path(registered).read_text().split()
        except FileNotFoundError:  # nobody has used it since the host was started
            continue
        if "filter" in tables:
            yield _legacy_firewall(program)


def _legacy_firewall(program: str) -> Finding:
    policy = ""
    if (path := shutil.which(program)) is not None:
        shown = subprocess.run([path, "-w", "-S", "FORWARD"], capture_output=True, text=True, check=False)
        policy = next(iter(shown.stdout.splitlines()), "")
    drops = policy == "-P FORWARD DROP"
    return Finding(
        name=program,
        state="missing" if drops else "in use",
        purpose="a firewall that must let containers' packets pass",
        detail=f"its policy drops what is forwarded: {program} -P FORWARD ACCEPT, or move its rules to iptables-nft"
        if drops
        else "a rule of it that drops what is forwarded cuts containers off; nftables does not show it",
    )


def _tools() -> Iterator[Finding]:
    try:
        tools = preflight()
    except FailedPrecondition as error:
        yield Finding(
            name="tools", state="missing", purpose="run containers", detail=f"{error}: {error.hint}"
        )
    else:
        names = ", ".join(["conmon", *(tool.name for tool in tools.runtimes)])
        yield Finding(name="tools", state="ok", purpose="run containers", detail=names)
    mounted = Cgroups("pyswarm").available
    yield Finding(
        name="cgroups",
        state="ok" if mounted else "missing",
        purpose="limits of containers",
        detail="" if mounted else "no control groups are mounted: mount /sys/fs/cgroup",
    )


def _ports() -> Iterator[Finding]:
    for number, kind, name, purpose in (
        (PORT, socket.SOCK_STREAM, f"port {PORT}/tcp", "everything that nodes say to each other"),
        (_DATA_PATH_PORT, socket.SOCK_DGRAM, f"port {_DATA_PATH_PORT}/udp", "overlay traffic between hosts"),
    ):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", number))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                # A daemon that runs holds them, as it should: this cannot be told apart here.
                yield Finding(
                    name=name, state="in use", purpose=purpose, detail="by a daemon, or by a stranger"
                )
            else:
                yield Finding(name=name, state="ok", purpose=purpose)
