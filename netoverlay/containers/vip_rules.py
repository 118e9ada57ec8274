"""Balancing inside a container's namespace: its own connections to virtual IPs go to one of the replicas at random.

No packet leaves for a virtual IP itself: what is not translated is refused where the service has no replicas, and
else dropped (one packet in a change of rules, if ever: TCP sends it again and is translated then).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from functools import lru_cache
from threading import Lock

from netoverlay.conntrack import forget_translated
from netoverlay.containers.vip import Balancing, NetworkBalancing
from netoverlay.netns import Namespace
from netoverlay.nft import expr, match, types
from netoverlay.nft.keeper import KeptTable
from netoverlay.nft.plan import Plans
from netoverlay.nft.table import Base, Chain, Hook, NamedSet, Part, Rule, rule
from netoverlay.nft.types import INTEGER, IPV4, IPV6, VERDICT, Type, Value
from netoverlay.nft.wire import Family

TABLE = "pyswarm"
_DNS = "127.0.0.11"
_TRANSLATE, _FILTER = -100, 0  # NF_IP_PRI_NAT_DST, NF_IP_PRI_FILTER
_BEFORE_TRANSLATE = _TRANSLATE - 10
_MOST_MET = 1 << 16  # addresses: as many as a network of the swarm usually has
_VERSIONS = (
    (Family.IPV4, IPV4, expr.ip_target(), "4"),
    (Family.IPV6, IPV6, expr.ip6_target(), "6"),
)
_plans = Plans(Family.INET, TABLE)


class ContainerRules:
    """The rules of one container. Idempotent: takes over what an earlier daemon left in the namespace.

    `dns_port`: where on 127.0.0.11, inside the namespace, the name server listens for it; None for none.
    """

    def __init__(self, namespace: Namespace, dns_port: int | None) -> None:
        self._namespace = namespace
        self._table = KeptTable(namespace.nft, _plans)
        self._frame = (_frame(), *(() if dns_port is None else (_dns(dns_port),)))

    def install(self, fresh: bool = False) -> None:
        """Names resolve from here on. Balancing of an earlier daemon goes on until the first `balance`. `fresh`: the
        namespace has seen no packet yet."""
        self._table.adopt(self._frame, fresh)

    def balance(self, value: Balancing) -> None:
        """Balance like this: only the difference to the value before reaches the kernel."""
        self._table.keep((*self._frame, *(_parts(each) for each in value.networks)))

    def reconcile(self) -> int:
        """Repair what is not as it was last wanted; the number of differences found."""
        return self._table.reconcile()

    def finished(self, addresses: Collection[str]) -> int:
        """Forget the flows that were balanced to these addresses, after the `balance` without them; how many.

        A flow sticks to its replica as long as the kernel remembers it: UDP with one source port would go to an
        address without a container for ever. Its next packet goes to another replica, and TCP learns that it ended.
        To look for flows takes the kernel milliseconds: only where the container has met one of the addresses.
        """
        met: list[str] = []
        for version in "46":
            asked = {types.ip(each): each for each in addresses if (":" in each) == (version == "6")}
            met += [asked[key] for key in self._table.take_out(f"met{version}", asked)]
        return forget_translated(self._namespace, met) if met else 0


@lru_cache(maxsize=1)
def _frame() -> Part:
    """What is the same in every container."""
    translate = tuple(_decide(f"vips{version}") for version in "46")
    refuse = (
        *(_meet(version) for version in _VERSIONS),
        *(_decide(f"untranslated{version}") for version in "46"),
    )
    refusal = (
        rule(match.protocol(match.TCP), expr.reject_with_reset(), note="no replicas"),
        rule(expr.reject_as_unreachable(), note="no replicas"),
    )
    return Part(
        chains={
            "refuse": Chain(refusal),
            "translate-output": Chain(translate, Base(kind="nat", hook=Hook.OUTPUT, priority=_TRANSLATE)),
            # For what the container forwards, such as containers within it.
            "translate-forwarded": Chain(
                translate, Base(kind="nat", hook=Hook.PREROUTING, priority=_TRANSLATE)
            ),
            "refuse-output": Chain(refuse, Base(kind="filter", hook=Hook.OUTPUT, priority=_FILTER)),
            "refuse-forwarded": Chain(refuse, Base(kind="filter", hook=Hook.FORWARD, priority=_FILTER)),
        },
        sets={
            f"{name}{version}": NamedSet(key=address, value=VERDICT)
            for name in ("vips", "untranslated")
            for _, address, _, version in _VERSIONS
        }
        | {f"met{version}": NamedSet(key=address, room=_MOST_MET) for _, address, _, version in _VERSIONS},
    )


def _meet(version: tuple[Family, Type, expr.Expression, str]) -> Rule:
    """Keeps the addresses to which connections were translated, until `finished` asks for them."""
    family, _, load, name = version
    new, translated = match.state(expr.CtState.NEW), match.status(expr.CT_DNAT)
    return rule(new, translated, match.family(family), load, expr.remember(f"met{name}"), note="met")


def _decide(name: str) -> Rule:
    family, _, load, _ = _VERSIONS[0] if name.endswith("4") else _VERSIONS[1]
    return rule(match.family(family), load, expr.decided(name), note="virtual IPs")


@lru_cache(maxsize=1024)
def _dns(port: int) -> Part:
    """Questions to 127.0.0.11:53 go to another port there: the container may itself listen on port 53."""
    rules = tuple(
        rule(
            match.target(_DNS),
            match.target_port(53, protocol),
            expr.immediate(types.ip(_DNS)),
            expr.immediate(types.port(port), 1),
            expr.dnat(Family.IPV4, 0, 1),
            note="name server",
        )
        for protocol in (match.UDP, match.TCP)
    )
    base = Base(kind="nat", hook=Hook.OUTPUT, priority=_BEFORE_TRANSLATE)
    return Part(chains={"name-server": Chain(rules, base)})


class _Parts:
    """The part of the table for each network's balancing; the same for all containers. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._made: OrderedDict[int, tuple[NetworkBalancing, Part]] = OrderedDict()

    def __call__(self, network: NetworkBalancing) -> Part:
        with self._lock:
            if (made := self._made.get(id(network))) is not None:
                self._made.move_to_end(id(network))
                return made[1]
        part = _part(network)
        with self._lock:
            self._made[id(network)] = (network, part)
            if len(self._made) > self._size:
                self._made.popitem(last=False)
        return part


_parts = _Parts(256)


def _part(network: NetworkBalancing) -> Part:
    chains: dict[str, Chain] = {}
    elements: dict[str, dict[bytes, Value]] = {
        f"{name}{version}": {} for name in ("vips", "untranslated") for version in "46"
    }
    for service in network.services:
        version = "6" if ":" in service.vip else "4"
        vip = types.ip(service.vip)
        if not service.targets:
            elements[f"untranslated{version}"][vip] = types.goto("refuse")
            continue
        chain = f"vip{version}-{service.service_id}-{network.network_id}"
        chains[chain] = _spread(service.name, service.targets)
        elements[f"vips{version}"][vip] = types.goto(chain)
        elements[f"untranslated{version}"][vip] = types.DROP
    return Part(chains=chains, elements=elements)


@lru_cache(maxsize=4096)
def _spread(service: str, targets: tuple[str, ...]) -> Chain:
    """One rule that sends each new connection to one of the targets, all with the same chance."""
    family, address, _, _ = _VERSIONS[1] if ":" in targets[0] else _VERSIONS[0]
    places = {types.mark(place): types.ip(target) for place, target in enumerate(targets)}
    choose = expr.mapped(types.anonymous_map(INTEGER, address, places))
    return Chain((rule(expr.random(len(targets)), choose, expr.dnat(family), note=service),))
