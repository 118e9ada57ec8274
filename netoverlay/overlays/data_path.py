"""The door of the data path port: VXLAN has no key, so that whoever reaches the port puts frames into any overlay.

It belongs to the hosts. Nothing of a container reaches it, here or on another host, and what arrives for it from an
address that is no node's is dropped before the kernel's VXLAN sees it. The table `pyswarm-door` of the host's
namespace; blocking.

What is not kept off: containers on the host's own network (they are the host), and macvlan and ipvlan, which are on
the wire beside the host. There the door of the others asks for a node's address, which those can forge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache

from netoverlay.netns import Namespace
from netoverlay.nft import expr, match, types
from netoverlay.nft.keeper import KeptTable
from netoverlay.nft.plan import Plans
from netoverlay.nft.table import Base, Chain, Hook, NamedSet, Part, rule
from netoverlay.nft.types import INTERFACE, IPV4, IPV6
from netoverlay.nft.wire import Family
from swarmcore.model.overlay import NetworkTable

TABLE = "pyswarm-door"
_MESH, _WIRES = "vxi", "gv*"
_BEFORE_OTHERS = -300  # NF_IP_PRI_RAW: nothing of such a packet is anybody else's business
_PORT = 4789  # RFC 7348; the swarm's own is in its tables
_plans = Plans(Family.INET, TABLE)
_SOURCES = (
    (Family.IPV4, expr.ip_source(), expr.ip_target(), "4"),
    (Family.IPV6, expr.ip6_source(), expr.ip6_target(), "6"),
)


class Door:
    """The host `home`'s. Takes over what an earlier daemon left; the kernel keeps it while there is no daemon."""

    def __init__(self, home: Namespace) -> None:
        self._home = home
        self._table: KeptTable | None = None
        self._told: tuple[Mapping[str, object], ...] = ()  # the nodes of all tables, as objects
        self._nodes = Part()
        self._port = _PORT
        self._bridges: frozenset[str] = frozenset()
        self._guarded = Part()
        self._known = False  # no manager has spoken yet: what an earlier daemon left stays as it is

    def follow(self, tables: Collection[NetworkTable]) -> None:
        """Let in whom these tables know as nodes, and nobody else. NetlinkError for what the kernel refuses."""
        told = tuple(table.nodes for table in tables)
        port = next((table.network.port for table in tables), self._port)
        same = len(told) == len(self._told) and all(a is b for a, b in zip(told, self._told, strict=True))
        if self._known and same and port == self._port:
            return
        self._nodes = _nodes({node.vtep for nodes in told for node in nodes.values() if node.vtep})
        self._told, self._port, self._known = told, port, True
        self._apply()

    def guard(self, bridges: Collection[str]) -> None:
        """These bridges of the host have containers on them: nothing that comes from one passes, from the first
        `follow` on."""
        wanted = frozenset(bridges)
        if wanted == self._bridges:
            return
        self._bridges = wanted
        self._guarded = Part(elements={"bridges": {types.interface(name): None for name in sorted(wanted)}})
        self._apply()

    def _apply(self) -> None:
        if not self._known:
            return
        if self._table is None:
            self._table = KeptTable(self._home.nft, _plans)
        self._table.keep((frame(self._port), self._nodes, self._guarded))

    def reconcile(self) -> int:
        """Repair what is not as it was last wanted; the number of differences found."""
        return self._table.reconcile() if self._table is not None else 0

    def remove(self) -> None:
        """Nothing of ours is left."""
        KeptTable(self._home.nft, _plans).remove()
        self._table, self._told, self._known = None, (), False
        self._bridges, self._nodes, self._guarded = frozenset(), Part(), Part()


def _nodes(vteps: Collection[str]) -> Part:
    return Part(
        elements={
            f"nodes{version}": {
                types.ip(each): None for each in sorted(vteps) if (":" in each) == (version == "6")
            }
            for version in "46"
        }
    )


@lru_cache(maxsize=4)
def frame(port: int) -> Part:
    """All but the addresses of nodes and the names of bridges. The hooks' chains cost other packets two comparisons."""
    to_port = match.target_port(port, match.UDP)
    drop, accept = expr.verdict(types.DROP), expr.verdict(types.ACCEPT)
    from_bridge = (expr.meta(expr.Meta.IIFNAME), expr.is_in("bridges"))
    elsewhere = match.leaves_on(_MESH, _WIRES, inverted=True)
    arrived = (
        rule(match.arrives_on("lo", _MESH, _WIRES), drop, note="from a container"),
        rule(from_bridge, drop, note="from a container"),
        *(
            rule(match.family(family), source, expr.is_in(f"nodes{version}"), accept, note="a node")
            for family, source, _, version in _SOURCES
        ),
        rule(drop, note="no node"),
    )
    passing = (
        rule(match.arrives_on(_WIRES), elsewhere, drop, note="from a container"),
        rule(from_bridge, elsewhere, drop, note="from a container"),
        # It would leave with this host's address where the host hides what is behind it (Docker's containers).
        *(
            rule(
                *(match.family(family), target, expr.is_in(f"nodes{version}")),
                *(source, expr.is_in(f"nodes{version}", inverted=True), drop),
                note="from behind this host",
            )
            for family, source, target, version in _SOURCES
        ),
    )
    return Part(
        chains={
            "arrived": Chain(arrived),
            "passing": Chain(passing),
            "input": Chain((rule(to_port, expr.verdict(types.goto("arrived"))),), _base(Hook.INPUT)),
            "forward": Chain((rule(to_port, expr.verdict(types.goto("passing"))),), _base(Hook.FORWARD)),
        },
        sets={
            "nodes4": NamedSet(key=IPV4),
            "nodes6": NamedSet(key=IPV6),
            "bridges": NamedSet(key=INTERFACE),
        },
    )


def _base(hook: Hook) -> Base:
    return Base(kind="filter", hook=hook, priority=_BEFORE_OTHERS)
