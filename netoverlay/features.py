"""What this host's kernel can do for networks, tried for real in a namespace that is thrown away."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from msgspec import Struct
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from netoverlay.ipsec.xfrm import Xfrm
from netoverlay.netns import Namespace, Namespaces
from swarmcore.errors import SwarmError

# Every expression that our rules use, once.
_RULES = """
table inet pyswarm-doctor {
  map ports { type inet_proto . inet_service : verdict; }
  map marks { type ether_addr : mark; }
  set met { type ipv4_addr; size 65536; flags dynamic; }
  chain service { dnat ip to numgen random mod 2 map { 0 : 192.0.2.1, 1 : 192.0.2.2 }; }
  chain raw { type filter hook prerouting priority -300; ct original zone set 1; }
  chain marks { type filter hook prerouting priority -150; ct state new ct mark set ether saddr map @marks; }
  chain pre { type nat hook prerouting priority -100; fib daddr type local meta l4proto . th dport vmap @ports; }
  chain out { type nat hook output priority -100; ip daddr 192.0.2.9 jump service; }
  chain post { type nat hook postrouting priority 100; ct status dnat masquerade; }
  chain met { type filter hook output priority 0; ct state new ct status dnat add @met { ip daddr }; }
  chain filter { type filter hook output priority 0; ip daddr 192.0.2.9 meta l4proto tcp reject with tcp reset; }
}
"""
# What checks the ports of bridges (netoverlay/containers/antispoof.py).
_BRIDGE_RULES = """
table bridge pyswarm-doctor {
  set given { type ifname . ether_addr . ipv6_addr; }
  chain claims { @th,64,128 0 accept; }
  chain ports {
    type filter hook prerouting priority -300;
    iifname . ether saddr . ip6 saddr @given meta l4proto 58 goto claims
  }
}
"""


# Kinds of devices, what they are for, and whether overlays need them.
_LINKS = {
    "veth": ("joins containers to networks", True),
    "bridge": ("joins the containers of a host", True),
    "vxlan": ("carries overlays between hosts", True),
    "macvlan": ("networks of driver macvlan", False),
    "ipvlan": ("networks of driver ipvlan", False),
}


class Feature(Struct, frozen=True):
    """`missing` says why it does not work, empty where it does. Without a `needed` one overlays do not work at all."""

    name: str
    purpose: str
    needed: bool
    missing: str = ""
    hint: str = ""


def features(directory: Path) -> list[Feature]:
    """Try everything in a namespace of its own below `directory`. Blocking; needs root."""
    namespaces = Namespaces(directory)
    name = f"doctor-{secrets.token_hex(4)}"
    scratch = namespaces.create(name)
    try:
        return list(_features(scratch))
    finally:
        namespaces.remove(name)
        namespaces.close()


def _features(scratch: Namespace) -> Iterator[Feature]:
    """What is tried, in the order in which the doctor tells of it."""
    for kind, (purpose, needed) in _LINKS.items():
        why = scratch.run(partial(_link, kind))
        yield Feature(kind, purpose, needed, why, f"load the kernel module {kind}")
    yield Feature(
        "nftables",
        "balances load and publishes ports",
        True,
        scratch.run(partial(_rules, _RULES)),
        "use a kernel with nf_tables, nft_nat, nft_numgen, nft_fib, nft_ct and nft_reject, and nft 1.0 or newer",
    )
    yield Feature(
        "nftables for bridges",
        "keeps containers from using others' addresses",
        False,
        scratch.run(partial(_rules, _BRIDGE_RULES)),
        "load the kernel modules nf_tables and nft_meta_bridge, of a kernel with NF_TABLES_BRIDGE",
    )
    has_ipv6 = Path("/proc/sys/net/ipv6").exists()
    why = "" if has_ipv6 else "the kernel has no IPv6"
    yield Feature("IPv6", "dual-stack networks", False, why, "boot without ipv6.disable=1")
    yield Feature("SCTP", "published ports of protocol sctp", False, _sctp(), "load the kernel module sctp")
    yield Feature(
        "ESP",
        "encrypted overlays (--opt encrypted)",
        False,
        _esp(scratch),
        "load the kernel modules esp4, esp6 and gcm",
    )


def _sctp() -> str:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _link(kind: str) -> str:
    """Why the kernel does not make such a device; called inside the scratch namespace."""
    with IPRoute() as netlink:
        try:
            match kind:
                case "vxlan":
                    netlink.link("add", ifname="try0", kind=kind, vxlan_id=1, vxlan_port=4789)
                case "macvlan" | "ipvlan":
                    netlink.link("add", ifname="try1", kind="bridge")
                    parent = netlink.link_lookup(ifname="try1")[0]
                    netlink.link("add", ifname="try0", kind=kind, link=parent)
                case _:
                    netlink.link("add", ifname="try0", kind=kind)
        except NetlinkError as error:
            return os.strerror(error.code)
        finally:
            for name in ("try0", "try1"):
                for index in netlink.link_lookup(ifname=name):
                    netlink.link("del", index=index)
    return ""


def _rules(rules: str) -> str:
    """The first complaint of nft about rules like ours; a process that is started here is in the namespace."""
    if (nft := shutil.which("nft")) is None:
        return "the command nft is missing"
    done = subprocess.run([nft, "-f", "-"], input=rules, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["nft failed"])[0]


def _esp(scratch: Namespace) -> str:
    try:
        xfrm = Xfrm(scratch.run(Xfrm.open))
    except SwarmError as error:
        return str(error)
    try:
        return xfrm.unsupported()
    finally:
        xfrm.close()
