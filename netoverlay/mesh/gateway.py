"""Each container's wire to the host: its way out and in, with its address on the ingress network or one of the host's.

`gv…` here, `gw0` in the container. Nobody asks for hardware addresses on it: both ends have permanent neighbours, and
the gateway 169.254.1.1 (fe80::1) is nowhere else. Blocking; takes over what an earlier daemon left.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from ipaddress import ip_interface, ip_network
from socket import AF_INET, AF_INET6

from msgspec import Struct

from netoverlay.containers.sandboxes import SandboxSpec
from netoverlay.mesh.gateway_pool import Network, free_address
from netoverlay.mesh.ports import Way
from netoverlay.mesh.routes import accept_localhost, accepts_localhost
from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.links import Veth
from netoverlay.netlink.numbers import PROTOCOL
from netoverlay.netlink.records import Link
from netoverlay.netlink.route import RouteSocket
from netoverlay.netlink.routing import Route, Rule
from netoverlay.netlink.wire import NetlinkError
from netoverlay.netns import Namespace
from swarmcore.addresses import bare
from swarmcore.model.overlay import endpoint_mac

log = logging.getLogger(__name__)
PREFIX, FAR = "gv", "gw0"
_MAC = "ee:ee:ee:ee:ee:ee"  # of every near end: as on any point-to-point line, it is never ambiguous
_GATEWAYS = ("169.254.1.1", "fe80::1")
# A container without a way out still answers those who reach its published ports. Its default route is the last
# choice then, and the host refuses what it begins itself.
_LAST_CHOICE = 10_000
_BACK_TABLE, _BACK_PRIORITY = 7000, 7000  # in the container: replies from an address of gw0 leave by gw0
_GONE = (errno.ENOENT, errno.ESRCH, errno.ENODEV)


class Gateway(Struct, frozen=True, kw_only=True):
    """One container's wire. `namespace` is None after a restart, until the container is connected again."""

    spec: SandboxSpec
    way: Way
    namespace: Namespace | None = None
    mtu: int = 0


def device_name(sandbox_id: str) -> str:
    """14 of the 15 letters that a device may have; the same after a restart."""
    return PREFIX + blake2b(sandbox_id.encode(), digest_size=6).hexdigest()


def is_needed(spec: SandboxSpec) -> bool:
    """Whether the container has a wire to the host at all."""
    return bool(spec.gateway or spec.ingress or spec.host_ports)


class Gateways:
    """All containers' wires of the host `home`."""

    def __init__(self, home: Namespace, ipv6: bool) -> None:
        self._home, self._ipv6 = home, ipv6
        self._known: dict[str, Gateway] = {}
        self._going: set[str] = (
            set()
        )  # wires whose namespaces the kernel takes down since the last `reconcile`
        self._host_networks: tuple[Network, ...] | None = None

    @property
    def ways(self) -> list[Way]:
        return [each.way for _, each in sorted(self._known.items())]

    def way(self, sandbox_id: str) -> Way | None:
        found = self._known.get(sandbox_id)
        return found.way if found is not None else None

    # -- containers --------------------------------------------------------------------------------
    def connect(self, spec: SandboxSpec, namespace: Namespace, mtu: int) -> None:
        """Make the wire, its addresses and routes. NetlinkError for what the kernel refuses. Idempotent."""
        if not is_needed(spec):
            self._known.pop(spec.id, None)
            return
        name = device_name(spec.id)
        link, far = self._ends(name, namespace)
        before = self._known.get(spec.id)
        had = before.way.addresses if before else self._addresses_on(link.index) if link else ()
        way = self._way(spec, had)
        if link is None or far is None:
            link, far = self._make(spec, namespace, mtu)
        self._configure_near(link, spec, way)
        _configure_far(namespace, far, spec, way, mtu)
        self._known[spec.id] = Gateway(spec=spec, way=way, namespace=namespace, mtu=mtu)

    def disconnect(self, sandbox_id: str) -> tuple[str, ...]:
        """Nothing leads to the container any more; the addresses that it had. The wire itself goes with the container's
        namespace: to delete it would wait for the kernel's readers, 22 ms each."""
        found = self._known.pop(sandbox_id, None)
        if found is None:
            return ()
        link = self._home.route.link(found.way.device)
        if link is not None:
            self._going.add(link.name)
            batch = RouteBatch()
            for address in found.way.addresses:
                batch.delete_route(Route(_whole(address), index=link.index))
            self._home.route.commit(batch, ignore=_GONE)
        return found.way.addresses

    def adopt(self, specs: Sequence[SandboxSpec]) -> None:
        """After a restart: these containers are here. Wires of others are removed."""
        for spec in specs:
            if spec.id not in self._known and is_needed(spec):
                link = self._home.route.link(device_name(spec.id))
                way = self._way(spec, self._addresses_on(link.index) if link else ())
                self._known[spec.id] = Gateway(spec=spec, way=way)
        self._remove_others(self._home.route.links())

    def remove(self) -> None:
        """All wires, whoever's."""
        self._known.clear()
        self._going.clear()
        self._remove_others(self._home.route.links())

    def _remove_others(self, links: Iterable[Link]) -> int:
        known = {each.way.device for each in self._known.values()} | self._going
        self._going = set()
        batch = RouteBatch()
        for link in links:
            if link.kind == "veth" and link.name.startswith(PREFIX) and link.name not in known:
                batch.delete_link(link.index)
        count = len(batch)
        self._home.route.commit(batch, ignore=_GONE)
        return count

    # -- the kernel --------------------------------------------------------------------------------
    def reconcile(self) -> int:
        """Compare the near ends with the kernel, and repair; the number of differences."""
        route = self._home.route
        self._host_networks = None
        links = {link.name: link for link in route.links()}
        found = self._remove_others(links.values())
        reached = {(each.destination, each.index) for each in route.routes() if each.protocol == PROTOCOL}
        localhost = accepts_localhost(route) if self._ipv6 else set[int]()
        peers = {(each.index, each.address): each.mac for each in route.neighbours() if each.permanent}
        for gateway in list(self._known.values()):
            link = links.get(gateway.way.device)
            if link is None:
                found += self._make_again(gateway)
                continue
            mac = _far_mac(gateway.spec)
            answers = not self._ipv6 or link.index in localhost
            if (
                link.up
                and answers
                and all(
                    (_whole(address), link.index) in reached and peers.get((link.index, address)) == mac
                    for address in gateway.way.addresses
                )
            ):
                continue
            self._configure_near(link, gateway.spec, gateway.way)
            found += 1
        return found

    def _make_again(self, gateway: Gateway) -> int:
        """Somebody deleted the wire, or the container just ended. After a restart only connecting again mends it."""
        namespace = gateway.namespace
        if namespace is None or namespace.closed:
            return 0
        self.connect(gateway.spec, namespace, gateway.mtu)
        return 1

    def _ends(self, name: str, namespace: Namespace) -> tuple[Link | None, Link | None]:
        """Both ends if they belong together; if not, there is neither of them afterwards."""
        near, far = self._home.route.link(name), namespace.route.link(FAR)
        if near is not None and far is not None and (near.peer, far.peer) == (far.index, near.index):
            return near, far
        for place, link in ((self._home, near), (namespace, far)):
            if link is not None:
                batch = RouteBatch()
                batch.delete_link(link.index)
                place.route.commit(batch, ignore=_GONE)
        return None, None

    def _make(self, spec: SandboxSpec, namespace: Namespace, mtu: int) -> tuple[Link, Link]:
        name = device_name(spec.id)
        batch = RouteBatch()
        batch.make_link(
            Veth(name, FAR, peer_netns_fd=namespace.fd, mtu=mtu, mac=_MAC, peer_mac=_far_mac(spec))
        )
        self._home.route.commit(batch)
        self._home.sysctls(
            {
                f"net/ipv4/conf/{name}/route_localnet": 1,  # the host's 127.0.0.1 reaches the container's ports
                f"net/ipv4/conf/{name}/send_redirects": 0,
                f"net/ipv6/conf/{name}/disable_ipv6": 0,
                f"net/ipv6/conf/{name}/accept_ra": 0,
            }
        )
        namespace.sysctl(f"net/ipv6/conf/{FAR}/disable_ipv6", 0)
        return _must(self._home.route, name), _must(namespace.route, FAR)

    def _configure_near(self, link: Link, spec: SandboxSpec, way: Way) -> None:
        batch = RouteBatch()
        batch.change_link(link.index, link_local=False)
        batch.change_link(link.index, up=True)
        for address in way.addresses:
            batch.put_neighbour(link.index, address, _far_mac(spec))
            batch.put_route(Route(_whole(address), index=link.index))
        if self._ipv6:
            accept_localhost(batch, link.index)
        self._home.route.commit(batch, ignore=(errno.EAFNOSUPPORT,))

    # -- addresses ---------------------------------------------------------------------------------
    def _way(self, spec: SandboxSpec, had: Collection[str]) -> Way:
        """The addresses of the ingress network, and for a family without one an address that only this host knows:
        the one that the container had, if any."""
        addresses: list[str] = []
        outsiders: list[str] = []
        for family in (AF_INET, AF_INET6) if self._ipv6 else (AF_INET,):
            given = [str(ip_interface(each).ip) for each in spec.ingress if _family(each) == family]
            if not given:
                kept = [each for each in had if _family(each) == family]
                given = kept[:1] or [self._free(spec, family)]
                outsiders += given
            addresses += given
        return Way(
            device=device_name(spec.id),
            addresses=tuple(addresses),
            outsider=tuple(outsiders),
            open=spec.gateway,
            host_ports=spec.host_ports,
        )

    def _free(self, spec: SandboxSpec, family: int) -> str:
        if self._host_networks is None:
            self._host_networks = self._networks_of_host()
        taken = {address for each in self._known.values() for address in each.way.addresses}
        own = [ip_interface(each).network for join in spec.joins for each in join.addresses]
        own += [ip_interface(each).network for join in spec.host_joins for each in join.addresses]
        return free_address(spec.id, 4 if family == AF_INET else 6, taken, (*self._host_networks, *own))

    def _networks_of_host(self) -> tuple[Network, ...]:
        """What the host's own addresses and routes are about: no container may hide it."""
        route = self._home.route
        ours = {link.index for link in route.links() if link.name.startswith(PREFIX)}
        found = {
            ip_interface(f"{each.address}/{each.prefix}").network
            for each in route.addresses()
            if each.index not in ours
        }
        found |= {
            ip_network(each.destination)
            for each in route.routes()
            if each.index not in ours
            and not each.destination.endswith("/0")
            and each.destination != "default"
        }
        return tuple(found)

    def _addresses_on(self, index: int) -> tuple[str, ...]:
        return tuple(
            bare(each.destination)
            for each in self._home.route.routes()
            if each.index == index and each.protocol == PROTOCOL
        )


def _must(route: RouteSocket, name: str) -> Link:
    link = route.link(name)
    if link is None:
        raise NetlinkError(errno.ENODEV, request=f"find {name}")
    return link


def _family(address: str) -> int:
    return AF_INET6 if ":" in address else AF_INET


def _whole(address: str) -> str:
    return f"{address}/128" if ":" in address else f"{address}/32"


def _far_mac(spec: SandboxSpec) -> str:
    return endpoint_mac(spec.id, FAR)


def _configure_far(namespace: Namespace, link: Link, spec: SandboxSpec, way: Way, mtu: int) -> None:
    """The container's end. A container that is on networks of the host too may have another default route: what it
    answers from its address here leaves by this wire all the same."""
    batch = RouteBatch()
    batch.change_link(link.index, link_local=False)
    batch.change_link(link.index, up=True, mtu=mtu if mtu and mtu != link.mtu else 0)
    metric = 0 if spec.gateway else _LAST_CHOICE
    for address in way.addresses:
        six = _family(address) == AF_INET6
        batch.put_address(link.index, _whole(address))
        gateway = _GATEWAYS[six]
        batch.put_neighbour(link.index, gateway, _MAC)
        batch.put_route(Route("default", gateway=gateway, index=link.index, metric=metric, onlink=True))
        if spec.host_joins:
            batch.put_route(
                Route("default", gateway=gateway, index=link.index, table=_BACK_TABLE, onlink=True)
            )
            batch.make_rule(Rule(_family(address), _BACK_PRIORITY, source=_whole(address), table=_BACK_TABLE))
    namespace.route.commit(batch, ignore=(errno.EAFNOSUPPORT, errno.EEXIST))
