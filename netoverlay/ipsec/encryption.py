"""Encrypted networks of one host: their packets are marked on the way out, and dropped where they come in clear.

VXLAN packets of all networks between two hosts share addresses and port; only the VNI in their header tells which of
them must be encrypted. A mark carries that to the IPsec policy. Blocking; for one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache

from netoverlay.ipsec.plan import MARK, Protection, RingKey, protection
from netoverlay.ipsec.xfrm import HINT, Xfrm
from netoverlay.netns import Namespaces
from netoverlay.nft import expr, match, types
from netoverlay.nft.keeper import KeptTable
from netoverlay.nft.plan import Plans
from netoverlay.nft.table import Base, Chain, Hook, Part, rule
from netoverlay.nft.wire import Family
from swarmcore.errors import FailedPrecondition
from swarmcore.model.overlay import NetworkTable, OverlayNetwork

log = logging.getLogger(__name__)
TABLE = "pyswarm-ipsec"
_MANGLE = -150  # NF_IP_PRI_MANGLE: before the packet's route and policy are looked up again
_VNI_OFFSET, _VNI_BYTES = 12, 3  # behind the UDP header (RFC 7348, section 5)
_NOT_ENCRYPTED = bytes(1)  # meta ipsec: the packet came through no association
_plans = Plans(Family.INET, TABLE)


class Encryption:
    """Nothing is made on a host without encrypted networks."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._home = namespaces.home
        self._xfrm: Xfrm | None = None
        self._rules: KeptTable | None = None
        self._reason: str | None = None

    def check(self, network: OverlayNetwork) -> None:
        """FailedPrecondition if this host cannot carry the network as it must be."""
        if not network.encrypted:
            return
        if self._reason is None:
            self._reason = self._open().unsupported()
        if self._reason:
            raise FailedPrecondition(f"network {network.name} is encrypted, but {self._reason}", HINT)

    def follow(
        self, tables: Mapping[str, NetworkTable], carried: Sequence[str], vtep: str, keys: Sequence[RingKey]
    ) -> None:
        """Protect the encrypted ones among the networks that are `carried` here."""
        encrypted = [tables[i] for i in carried if i in tables and tables[i].network.encrypted]
        if not encrypted and self._rules is None:
            return
        if encrypted and not keys:
            raise FailedPrecondition("the managers have given no keys for encrypted networks yet")
        port = encrypted[0].network.port if encrypted else 0
        vnis = sorted({subnet.vni for table in encrypted for subnet in table.network.subnets})
        peers = sorted({node.vtep for table in encrypted for node in table.nodes.values()} - {vtep})
        wanted = protection(vtep, peers, keys, port) if encrypted else Protection()
        # First nothing leaves or enters in clear, then the associations: what is lost is sent again.
        self._table().keep((_rules(tuple(vnis), port),) if vnis else ())
        self._open().converge(wanted)

    def reconcile(self) -> int:
        if self._rules is None or self._xfrm is None:
            return 0
        return self._rules.reconcile() + self._xfrm.reconcile()

    def close(self, *, remove: bool) -> None:
        if remove and self._rules is not None:
            self._rules.remove()
            if self._xfrm is not None:
                self._xfrm.converge(Protection())
        if self._xfrm is not None:
            self._xfrm.close()
        self._xfrm, self._rules = None, None

    def _open(self) -> Xfrm:
        if self._xfrm is None:
            self._xfrm = Xfrm(self._home.run(Xfrm.open))
        return self._xfrm

    def _table(self) -> KeptTable:
        if self._rules is None:
            self._rules = KeptTable(self._home.nft, _plans)
        return self._rules


@lru_cache(maxsize=16)
def _rules(vnis: tuple[int, ...], port: int) -> Part:
    """The same object for the same networks, as `Part` asks."""
    outgoing = []
    incoming = []
    for vni in vnis:
        of_network = (
            *match.target_port(port, match.UDP),
            expr.payload(expr.Base.TRANSPORT, _VNI_OFFSET, _VNI_BYTES),
            expr.equals(vni.to_bytes(_VNI_BYTES, "big")),
        )
        note = f"VNI {vni}"
        outgoing.append(rule(of_network, expr.immediate(types.mark(MARK)), expr.set_mark(), note=note))
        clear = (expr.meta(expr.Meta.SECPATH), expr.equals(_NOT_ENCRYPTED))
        incoming.append(rule(of_network, clear, expr.verdict(types.DROP), note=note))
    return Part(
        chains={
            # Of kind route: a changed mark makes the kernel look for route and policy again.
            "mark": Chain(tuple(outgoing), Base(kind="route", hook=Hook.OUTPUT, priority=_MANGLE)),
            "drop-clear": Chain(tuple(incoming), Base(kind="filter", hook=Hook.INPUT, priority=_MANGLE)),
        }
    )
