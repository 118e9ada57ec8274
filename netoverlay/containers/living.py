"""A container's sandbox while it lives: its namespace, the rules inside of it, and the flows it still has to forget."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from netoverlay.conntrack import ending_connections, live_connections
from netoverlay.containers.sandboxes import SandboxSpec
from netoverlay.containers.vip import balancing
from netoverlay.containers.vip_rules import ContainerRules
from netoverlay.netns import Namespace
from swarmcore.addresses import bare
from swarmcore.model.overlay import NetworkTable

log = logging.getLogger(__name__)


class LivingSandbox:
    """`spec` is what it has now: networks come and go. `adopted`: an earlier daemon made it. Blocking."""

    def __init__(self, spec: SandboxSpec, namespace: Namespace, adopted: bool = False) -> None:
        self.spec, self.namespace, self._adopted = spec, namespace, adopted
        self.rules: ContainerRules | None = None  # until its DNS port is known
        self._gone: set[str] = set()  # addresses whose flows are still to be forgotten

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(join.network_id for join in self.spec.joins)

    def serve(self, dns_port: int) -> None:
        """Names work from here on."""
        self.rules = ContainerRules(self.namespace, dns_port)
        self.rules.install(fresh=not self._adopted)

    def balance(self, tables: Mapping[str, NetworkTable]) -> None:
        """Virtual addresses lead where `tables` have it, once names work."""
        if self.rules is not None:
            self.rules.balance(balancing(tables, self.networks))

    def live_connections(self) -> int:
        """How many TCP connections others hold with the container."""
        return live_connections(self.namespace, self._own_addresses())

    def ending_connections(self) -> int:
        """How many TCP connections of the container have ended without that the other side knows it yet."""
        return ending_connections(self.namespace, self._own_addresses())

    def _own_addresses(self) -> list[str]:
        spec = self.spec
        swarm = [address for join in spec.joins for address in join.addresses]
        local = [address for join in spec.host_joins for address in join.addresses]
        return [bare(address) for address in (*swarm, *local, *spec.ingress)]

    # -- flows to endpoints that have gone ---------------------------------------------------------
    @property
    def has_flows_to_forget(self) -> bool:
        return bool(self._gone)

    def note_gone(self, addresses: Iterable[str]) -> None:
        """The endpoints there have left their networks; `forget_flows` does the rest, which can take milliseconds."""
        if self.rules is not None:
            self._gone.update(addresses)

    def remembers(self, addresses: Iterable[str]) -> bool:
        """Whether there may be flows to the former owner of one of the addresses."""
        return not self._gone.isdisjoint(addresses)

    def forget_flows(self) -> None:
        """Forget the flows to all endpoints that have gone."""
        addresses, self._gone = self._gone, set()
        assert self.rules is not None
        try:
            self.rules.finished(addresses)
        except OSError as error:
            # Flows to it end by themselves, later; the container itself may be ending.
            log.warning(
                "cannot forget connections to endpoints that have gone",
                extra={"sandbox": self.spec.id, "reason": str(error)},
            )
