"""What a host says of itself when a network is checked: its devices and the rules of others. Blocking."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator

from netoverlay.netns import Namespace
from netoverlay.overlays.links import overlay_mtu, underlay_device
from swarmcore.model.overlay import OverlayNetwork
from swarmcore.rpc.messages.check import HostFacts
from swarmcore.text.patterns import Pattern

log = logging.getLogger(__name__)
_OURS = "pyswarm"
_LONGEST_LINE = 1 << 16  # of a ruleset: sets of ports and addresses stand in one line
_TABLE = Pattern(r"table \w+ (\S+) \{$", _LONGEST_LINE)
_CHAIN = Pattern(r"\s+chain (\S+) \{$", _LONGEST_LINE)
_DESTINATION = Pattern(r"\b(?:udp|th) dport (\{[^{}]*\}|\S+)", _LONGEST_LINE)
_VERDICT = Pattern(r"\b(?:drop|reject)\b", _LONGEST_LINE)
_INPUT = Pattern(r"\s+type filter hook input .*policy (\w+);", _LONGEST_LINE)
_REFUSE_AT_THEIR_END = {("firewalld", "filter_INPUT")}  # by a rule; their policy is to accept
_NFT_TIMEOUT = 1.0


def host_facts(host: Namespace, vtep: str, network: OverlayNetwork | None, port: int = 4789) -> HostFacts:
    """`vtep` is the host's data path address; without `network` nothing is said of its MTU."""
    device = underlay_device(host, vtep) if vtep else None
    ruleset = _ruleset(host)
    return HostFacts(
        device=device.name if device is not None else "",
        device_mtu=device.mtu if device is not None else 0,
        mtu=overlay_mtu(network, vtep, device.mtu) if device is not None and network is not None else 0,
        drops=tuple(foreign_drops(ruleset, network.port if network is not None else port)),
        guard=input_guard(ruleset),
    )


def _ruleset(host: Namespace) -> str:
    """As nft prints it, which shows the rules of iptables-nft too; empty where that cannot be had."""
    program = shutil.which("nft")
    if program is None:
        return ""
    try:
        found = host.run(
            lambda: subprocess.run(
                [program, "list", "ruleset"], capture_output=True, text=True, timeout=_NFT_TIMEOUT, check=True
            )
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.info("rules of others are not known", extra={"reason": str(error)})
        return ""
    return found.stdout


def input_guard(ruleset: str) -> str:
    """The table and chain of others that refuse what is for the host itself unless a rule lets it in; "" if none."""
    table = chain = ""
    for line in ruleset.splitlines():
        if found := _TABLE.match(line):
            table = found[1]
        elif found := _CHAIN.match(line):
            chain = found[1]
        elif (
            (found := _INPUT.match(line))
            and not table.startswith(_OURS)
            and (found[1] == "drop" or (table, chain) in _REFUSE_AT_THEIR_END)
        ):
            return f"{table} {chain}"
    return ""


def foreign_drops(ruleset: str, port: int) -> Iterator[str]:
    """The rules of other tables than ours that drop or reject UDP to `port`, with their table and chain."""
    table = chain = ""
    for line in ruleset.splitlines():
        if found := _TABLE.match(line):
            table = found[1]
        elif found := _CHAIN.match(line):
            chain = found[1]
        elif (
            not table.startswith(_OURS)
            and _VERDICT.search(line)
            and (wanted := _DESTINATION.search(line)) is not None
            and _covers(wanted[1], port)
        ):
            yield f"{table} {chain}: {line.strip()}"


def _covers(ports: str, port: int) -> bool:
    """nft's notation: one port, a range, or a set of both."""
    for each in ports.strip("{} ").split(","):
        low, _, high = each.strip().partition("-")
        if low.isdecimal() and int(low) <= port <= int(high if high.isdecimal() else low):
            return True
    return False
