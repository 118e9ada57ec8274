"""Containers on networks of their host: interfaces by the driver, and on bridges what keeps them from harm. Blocking.

Ports of bridges let in what the container was given (`netoverlay.containers.antispoof`), and nothing that comes from
a bridge with containers reaches the data path port (`netoverlay.overlays.data_path`).
"""

from __future__ import annotations

from collections.abc import Iterable

from netoverlay.containers.antispoof import Port, PortChecks
from netoverlay.containers.sandboxes import HostJoin, HostSegment, SandboxSpec
from netoverlay.local.driver import BRIDGE, PORT_PREFIX, LocalDriver, bridge_name, port_name
from netoverlay.netns import Namespace, Namespaces
from netoverlay.overlays.data_path import Door


class Attached:
    def __init__(self, namespaces: Namespaces, door: Door) -> None:
        self._driver = LocalDriver(namespaces)
        self._door = door
        self._checks = PortChecks(namespaces.home, PORT_PREFIX)
        self._joins: dict[tuple[str, str], HostJoin] = {}  # on bridges, by container and network

    # -- networks ----------------------------------------------------------------------------------
    def ensure(self, segment: HostSegment) -> None:
        """Make the devices of the network, if they are not there."""
        self._driver.ensure(segment)

    def remove(self, segment: HostSegment) -> None:
        self._driver.remove(segment)

    # -- containers --------------------------------------------------------------------------------
    def join(self, join: HostJoin, sandbox: Namespace, sandbox_id: str) -> None:
        """Give the container its interface; nothing else than its own passes from the first frame on."""
        if join.segment.driver == BRIDGE:
            self._joins[sandbox_id, join.segment.id] = join
            self._guard()
            self._checks.put(_port(join, sandbox_id))
        try:
            self._driver.join(join, sandbox, sandbox_id)
        except BaseException:
            self.leave(join, sandbox_id)
            raise

    def leave(self, join: HostJoin, sandbox_id: str) -> None:
        """Take the host's end away. Idempotent."""
        self._driver.leave(join, sandbox_id)
        if self._joins.pop((sandbox_id, join.segment.id), None) is not None:
            self._checks.drop(port_name(join.segment, sandbox_id))
            self._guard()

    def unplug(self, interface: str, sandbox: Namespace) -> None:
        """Take the interface out of a container that lives on."""
        self._driver.unplug(interface, sandbox)

    def adopt(self, specs: Iterable[SandboxSpec]) -> None:
        """After a restart: these containers are here, and no others."""
        known = [(spec.id, join) for spec in specs for join in spec.host_joins]
        names = {port_name(join.segment, sandbox_id) for sandbox_id, join in known}
        self._driver.delete_ports(self._driver.ports(names))
        bridged = [(each, join) for each, join in known if join.segment.driver == BRIDGE]
        self._joins = {(each, join.segment.id): join for each, join in bridged}
        self._guard()
        if not bridged:
            self._checks.remove()  # what an earlier daemon left
        self._checks.reset(_port(join, each) for each, join in bridged)
        for each, join in bridged:
            self._driver.fix_port(join, each)

    # -- upkeep ------------------------------------------------------------------------------------
    def reconcile(self) -> int:
        """Repair the checks of ports; the number of differences found."""
        return self._checks.reconcile()

    def forget(self) -> None:
        """Nothing of the checks is left; the devices go with their networks and containers."""
        self._joins.clear()
        self._checks.remove()

    def _guard(self) -> None:
        self._door.guard({bridge_name(join.segment) for join in self._joins.values()})


def _port(join: HostJoin, sandbox_id: str) -> Port:
    return Port(
        name=port_name(join.segment, sandbox_id),
        mac=join.mac,
        addresses=join.addresses,
        free=not join.antispoof,
    )
