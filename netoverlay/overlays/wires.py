"""The wire from an overlay's bridge to one container: a veth pair, and what the container's end is given. Blocking."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from ipaddress import ip_interface, ip_network

from msgspec import Struct

from netoverlay.containers.sandboxes import Join
from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.links import Veth
from netoverlay.netlink.routing import Route
from netoverlay.netlink.wire import NetlinkError
from netoverlay.netns import Namespace
from netoverlay.overlays.links import WIRE_PREFIX
from swarmcore.model.overlay import OverlayNetwork


class Wire(Struct, frozen=True, kw_only=True):
    """`sandbox` is None for a container of an earlier daemon that has not been joined again: it cannot be rewired."""

    join: Join
    sandbox: Namespace | None


def wire_name(sandbox_id: str) -> str:
    """The near end's name, the same after a restart; 13 of the 15 letters that a device may have."""
    return WIRE_PREFIX + blake2b(sandbox_id.encode(), digest_size=6).hexdigest()


def routes_for(network: OverlayNetwork, join: Join) -> tuple[str, ...]:
    """The network's other subnets, of families that the container has: they are on the same wire."""
    own = [ip_interface(each).network for each in join.addresses]
    families = {each.version for each in own}
    return tuple(
        each.subnet
        for each in network.subnets
        if (subnet := ip_network(each.subnet)).version in families and subnet not in own
    )


def connect(overlay: Namespace, bridge: int, mtu: int, name: str, join: Join, sandbox: Namespace) -> None:
    """Make the wire, or take over the one that is there. NetlinkError for what the kernel refuses."""
    batch = RouteBatch()
    batch.make_link(
        Veth(
            name,
            join.interface,
            peer_netns_fd=sandbox.fd,
            peer_mac=join.mac,
            mtu=mtu,
            master=bridge,
            up=True,
        )
    )
    batch.change_port(name, learning=not join.antispoof, flooding=False)
    try:
        overlay.route.commit(batch)
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        if not _take_over(overlay, bridge, mtu, name, join, sandbox):
            connect(overlay, bridge, mtu, name, join, sandbox)


def _take_over(overlay: Namespace, bridge: int, mtu: int, name: str, join: Join, sandbox: Namespace) -> bool:
    """Whether both ends are there and belong together; if not, there is neither of them afterwards."""
    near, far = overlay.route.link(name), sandbox.route.link(join.interface)
    if near is not None and far is not None and (near.peer, far.peer) == (far.index, near.index):
        batch = RouteBatch()
        batch.change_link(near.index, master=bridge, mtu=mtu, up=True)
        batch.change_port(near.index, learning=not join.antispoof, flooding=False)
        overlay.route.commit(batch)
        return True
    for namespace, link in ((overlay, near), (sandbox, far)):
        if link is not None:
            batch = RouteBatch()
            batch.delete_link(link.index)
            namespace.route.commit(batch, ignore=(errno.ENODEV,))
    return False


def configure(overlay: Namespace, sandbox: Namespace, join: Join, mtu: int, routes: Iterable[str]) -> None:
    """Give the container's end its MAC, MTU, addresses and routes, and bring it up. What it has already stays.

    The bridge of `overlay` knows by a static entry who is behind the port. Where it learned, one frame with a
    neighbour's MAC would lead that neighbour's traffic here.
    """
    link = sandbox.route.link(join.interface)
    if link is None:
        raise NetlinkError(errno.ENODEV, request=f"find {join.interface}")
    batch = RouteBatch()
    batch.put_port_fdb(link.peer, join.mac)
    overlay.route.commit(batch)
    if not any(":" in each for each in join.addresses):
        batch.change_link(link.index, link_local=False)  # nothing of IPv6 on a network that has none
    mac = join.mac if link.mac != join.mac.lower() else ""
    batch.change_link(link.index, up=True, mtu=mtu if link.mtu != mtu else 0, mac=mac)
    for cidr in join.addresses:
        batch.put_address(link.index, cidr)
    for subnet in routes:
        batch.put_route(Route(subnet, index=link.index))
    # A kernel without IPv6 has no link-local addresses to be without.
    sandbox.route.commit(batch, ignore=(errno.EAFNOSUPPORT,))


def forget(sandbox: Namespace, join: Join, bound: Mapping[str, str]) -> None:
    """Let the container ask again who has an address where it knows another MAC than the one in `bound`."""
    link = sandbox.route.link(join.interface)
    if link is None:
        return
    batch = RouteBatch()
    for known in sandbox.route.neighbours(link.index):
        if known.address in bound and known.mac != bound[known.address]:
            batch.delete_neighbour(link.index, known.address)
    sandbox.route.commit(batch, ignore=(errno.ENOENT,))
