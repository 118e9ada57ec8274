"""Bridges, macvlan and ipvlan devices of this host's own networks. Blocking; nothing here is on a packet's path.

pyroute2 does the work: each call enters the host's namespace on the namespaces' thread with a socket of its own.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from netoverlay.containers.sandboxes import HostJoin, HostSegment
from netoverlay.netns import Namespace, Namespaces
from swarmcore.addresses import split_prefix
from swarmcore.errors import FailedPrecondition, Invalid, clipped
from swarmcore.text.numbers import whole

log = logging.getLogger(__name__)
T = TypeVar("T")
PORT_PREFIX = "lv"
_STICKY, _STATIC = 0x44, 0x40  # NTF_MASTER and NTF_STICKY; NUD_NOARP
BRIDGE, MACVLAN, IPVLAN = "bridge", "macvlan", "ipvlan"
DRIVERS = frozenset({BRIDGE, MACVLAN, IPVLAN})
_NAME_OPTION = "com.docker.network.bridge.name"
_MTU_OPTION = "com.docker.network.driver.mtu"
_SMALLEST_MTU, _LARGEST_MTU = 68, 65535  # RFC 791, 3.1: what every host must take; the length field's limit
_ICC_OPTION = "com.docker.network.bridge.enable_icc"
# The netlink attribute of each driver's mode, and its values by what users write (linux/if_link.h).
_MODES: dict[str, tuple[str, dict[str, Any]]] = {
    MACVLAN: (
        "macvlan_mode",
        {"": "bridge", **{mode: mode for mode in ("bridge", "private", "vepa", "passthru")}},
    ),
    IPVLAN: ("ipvlan_mode", {"": 0, "l2": 0, "l3": 1, "l3s": 2}),
}


def bridge_name(segment: HostSegment) -> str:
    return segment.options.get(_NAME_OPTION) or f"br-{segment.id[:12]}"


def port_name(segment: HostSegment, sandbox_id: str) -> str:
    """The host's end of a container's wire: short enough for an interface, and the same every time."""
    return PORT_PREFIX + blake2b(f"{segment.id}/{sandbox_id}".encode(), digest_size=6).hexdigest()


def parent_name(segment: HostSegment) -> str:
    """The device that macvlan and ipvlan hang on: the one that was named, or one of our own that leads nowhere."""
    return segment.options.get("parent") or f"dm-{segment.id[:12]}"


class LocalDriver:
    def __init__(self, namespaces: Namespaces) -> None:
        self._home = namespaces.home

    # -- networks ----------------------------------------------------------------------------------
    def check(self, segment: HostSegment) -> None:
        """Raise if this host cannot have the network."""
        if segment.driver not in DRIVERS:
            raise Invalid(f"unknown network driver {segment.driver!r}", f"use {', '.join(sorted(DRIVERS))}")
        if segment.driver == BRIDGE:
            if len(bridge_name(segment)) > 15:
                raise Invalid(f"{_NAME_OPTION} {bridge_name(segment)!r} is longer than 15 characters")
            return
        _, modes = _MODES[segment.driver]
        mode = segment.options.get(f"{segment.driver}_mode", "")
        if mode not in modes:
            raise Invalid(
                f"unknown {segment.driver}_mode {mode!r}", f"use {', '.join(m for m in modes if m)}"
            )
        parent = segment.options.get("parent", "")
        device = parent.rpartition(".")[0] or parent
        if device and not self._in_home(lambda netlink: netlink.link_lookup(ifname=device)):
            raise FailedPrecondition(f"this host has no device {device!r} (option parent)")

    def ensure(self, segment: HostSegment) -> None:
        """Make the devices that containers of the network need, if they are not there. Repeatable."""
        self.check(segment)
        if segment.driver == BRIDGE:
            self._in_home(lambda netlink: _ensure_bridge(netlink, segment))
        else:
            self._in_home(lambda netlink: _ensure_parent(netlink, segment))

    def remove(self, segment: HostSegment) -> None:
        """Remove what `ensure` made; never a device that the user named. Idempotent."""
        own: list[str] = []
        if segment.driver == BRIDGE:
            own = [bridge_name(segment)]
        elif not segment.options.get("parent"):
            own = [parent_name(segment)]
        elif "." in segment.options["parent"]:
            own = [segment.options["parent"]]
        self._in_home(lambda netlink: _delete(netlink, own))

    # -- containers --------------------------------------------------------------------------------
    def join(self, join: HostJoin, sandbox: Namespace, sandbox_id: str) -> None:
        """Give the sandbox its interface. FailedPrecondition where the kernel does not have the driver."""
        segment = join.segment
        self.ensure(segment)
        port = port_name(segment, sandbox_id)
        make = self._plug_bridge if segment.driver == BRIDGE else self._plug_parent
        try:
            make(join, sandbox, port)
        except NetlinkError as error:
            if error.code in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
                raise FailedPrecondition(
                    f"this host's kernel has no {segment.driver}", f"load the kernel module {segment.driver}"
                ) from None
            raise
        sandbox.run(lambda: _configure(join, port))

    def _plug_bridge(self, join: HostJoin, sandbox: Namespace, port: str) -> None:
        def plug(netlink: Any) -> None:
            bridge = netlink.link_lookup(ifname=bridge_name(join.segment))[0]
            _delete(netlink, [port])
            peer = {"ifname": f"{port}p", "net_ns_fd": sandbox.fd, "address": join.mac}
            netlink.link("add", ifname=port, kind="veth", peer=peer, **_mtu(join.segment))
            (index,) = netlink.link_lookup(ifname=port)
            netlink.link("set", index=index, master=bridge, state="up")
            if join.segment.options.get(_ICC_OPTION, "true").lower() == "false":
                netlink.brport("set", index=index, isolated=1)
            _fix_port(netlink, index, join)

        self._in_home(plug)

    def fix_port(self, join: HostJoin, sandbox_id: str) -> None:
        """The port as `join` leaves it, where it is there: one of an earlier version learned."""

        def fix(netlink: Any) -> None:
            for index in netlink.link_lookup(ifname=port_name(join.segment, sandbox_id)):
                _fix_port(netlink, index, join)

        self._in_home(fix)

    def _plug_parent(self, join: HostJoin, sandbox: Namespace, port: str) -> None:
        segment = join.segment
        key, modes = _MODES[segment.driver]
        mode = modes[segment.options.get(f"{segment.driver}_mode", "")]

        def plug(netlink: Any) -> None:
            parent = netlink.link_lookup(ifname=parent_name(segment))[0]
            # An ipvlan device has its parent's address.
            address = {"address": join.mac} if segment.driver == MACVLAN else {}
            netlink.link(
                *("add",),
                **{"ifname": f"{port}p", "kind": segment.driver, "link": parent, key: mode},
                **address,
                net_ns_fd=sandbox.fd,
            )

        self._in_home(plug)

    def leave(self, join: HostJoin, sandbox_id: str) -> None:
        """Take the host's end away; the container's end goes with it, or with its namespace. Idempotent."""
        self._in_home(lambda netlink: _delete(netlink, [port_name(join.segment, sandbox_id)]))

    def unplug(self, interface: str, sandbox: Namespace) -> None:
        """Take the interface out of a sandbox that lives on."""

        def take() -> None:
            with IPRoute() as netlink:
                _delete(netlink, [interface])

        sandbox.run(take)

    def ports(self, known: Collection[str]) -> list[str]:
        """The host's ends that belong to none of the `known` names: what a killed daemon left."""

        def listed(netlink: Any) -> list[str]:
            names = [str(link.get_attr("IFLA_IFNAME")) for link in netlink.get_links()]
            return [
                name
                for name in names
                if name.startswith(PORT_PREFIX) and len(name) == 14 and name not in known
            ]

        return self._in_home(listed)

    def delete_ports(self, names: Collection[str]) -> None:
        self._in_home(lambda netlink: _delete(netlink, list(names)))

    def _in_home(self, fn: Callable[[Any], T]) -> T:
        def call() -> T:
            with IPRoute() as netlink:
                return fn(netlink)

        return self._home.run(call)


def _mtu(segment: HostSegment) -> dict[str, int]:
    text = segment.options.get(_MTU_OPTION, "")
    if not text:
        return {}
    if (mtu := whole(text, _LARGEST_MTU, _SMALLEST_MTU)) is None:
        raise FailedPrecondition(
            f"invalid option {_MTU_OPTION}={clipped(text)}",
            f"it is a number from {_SMALLEST_MTU} to {_LARGEST_MTU}",
        )
    return {"mtu": mtu}


def _fix_port(netlink: Any, index: int, join: HostJoin) -> None:
    """As on overlays: the bridge knows who is behind the port, and believes nobody else there."""
    netlink.brport("set", index=index, learning=int(not join.antispoof), unicast_flood=0)
    netlink.fdb("replace", ifindex=index, lladdr=join.mac, flags=_STICKY, state=_STATIC)


def _delete(netlink: Any, names: Collection[str]) -> None:
    for name in names:
        for index in netlink.link_lookup(ifname=name):
            try:
                netlink.link("del", index=index)
            except NetlinkError as error:
                if error.code != errno.ENODEV:
                    raise


def _ensure_bridge(netlink: Any, segment: HostSegment) -> None:
    name = bridge_name(segment)
    if not netlink.link_lookup(ifname=name):
        try:
            netlink.link("add", ifname=name, kind="bridge", **_mtu(segment))
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
    (index,) = netlink.link_lookup(ifname=name)
    if not segment.internal:
        held = {
            f"{entry.get_attr('IFA_ADDRESS')}/{entry['prefixlen']}" for entry in netlink.get_addr(index=index)
        }
        for subnet, gateway in zip(segment.subnets, segment.gateways, strict=True):
            _, length = split_prefix(subnet)
            if gateway and f"{gateway}/{length}" not in held:
                netlink.addr("add", index=index, address=gateway, prefixlen=length, **_nodad(gateway))
    netlink.link("set", index=index, state="up")


def _ensure_parent(netlink: Any, segment: HostSegment) -> None:
    name = parent_name(segment)
    if netlink.link_lookup(ifname=name):
        return
    given = segment.options.get("parent", "")
    if not given:
        # A bridge without ports: nothing leaves it, and unlike a dummy every kernel with overlays has it.
        netlink.link("add", ifname=name, kind="bridge")
    else:
        # `eth0.50`: the VLAN 50 of eth0, made when it is missing, as Docker does.
        device, _, vlan = given.rpartition(".")
        number, parents = whole(vlan, 4094, 1), netlink.link_lookup(ifname=device)
        if number is None or not parents:
            raise FailedPrecondition(f"this host has no device {clipped(given)} (option parent)")
        netlink.link("add", ifname=name, kind="vlan", link=parents[0], vlan_id=number)
    (index,) = netlink.link_lookup(ifname=name)
    netlink.link("set", index=index, state="up")


def _nodad(address: str) -> dict[str, int]:
    """Usable at once: who gives the addresses knows that nobody else has this one (IFA_F_NODAD)."""
    return {"flags": 0x02} if ":" in address else {}


def _configure(join: HostJoin, port: str) -> None:
    """Inside the sandbox: the name, the addresses, up; and for a network of the wire its gateway as the way out."""
    with IPRoute() as netlink:
        (index,) = netlink.link_lookup(ifname=f"{port}p")
        netlink.link("set", index=index, ifname=join.interface)
        for address in join.addresses:
            host, length = split_prefix(address)
            netlink.addr("add", index=index, address=host, prefixlen=length, **_nodad(host))
        netlink.link("set", index=index, state="up")
        segment = join.segment
        if segment.driver == BRIDGE or segment.internal:
            return
        for gateway in segment.gateways:
            if gateway and any((":" in a) == (":" in gateway) for a in join.addresses):
                _default_route(netlink, gateway, index)


def _default_route(netlink: Any, gateway: str, index: int) -> None:
    try:
        netlink.route("add", dst="default" if ":" not in gateway else "::/0", gateway=gateway, oif=index)
    except NetlinkError as error:
        if error.code != errno.EEXIST:  # a network before this one leads out already
            raise OSError(error.code, os.strerror(error.code), f"default route by {gateway}") from error
