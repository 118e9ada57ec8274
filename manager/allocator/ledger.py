"""The allocator's memory and judgement: what is held, what is to be looked at, and one entry's work at a time.

Law: nothing is given before every commit that the entry rests on was noted. What is noted ahead of the commit
(`settle_due`) is true once it commits; if it does not, the ledger is thrown away and made anew from the store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from random import Random

from msgspec.structs import replace

from manager.allocator import ingress, services, tasks
from manager.allocator.addresses import Addresses, held
from manager.allocator.ports import Ports, published
from manager.allocator.waiting import INGRESS, PORTS, SUBNETS, Agenda, Kind, Waits, network_key, service_key
from manager.rules.clashes import host_networks
from manager.rules.network_plan import is_allocated, is_overlay, plan_network
from manager.store.tables import Tables, View
from manager.store.tx import Tx
from manager.store.watch import Change, Commit
from swarmcore.aio import Turns, stretches
from swarmcore.errors import SwarmError
from swarmcore.ids import NewId
from swarmcore.model.base import Object
from swarmcore.model.cluster import Cluster
from swarmcore.model.network import Network, NetworkSpec
from swarmcore.model.node import Node
from swarmcore.model.service import Service
from swarmcore.model.task import Task

log = logging.getLogger(__name__)
MAX_ITEMS = 1_000
_KINDS = tuple(Kind)  # in the order in which one kind of work may need the other


class Ledger:
    def __init__(self, new_id: NewId, random: Random) -> None:
        """Empty: `load_in_turns` comes first."""
        self.index = 0
        self._new_id, self._random = new_id, random
        self._addresses = Addresses()
        self._ports = Ports(())
        self._agenda = Agenda()
        self._reasons: dict[str, str] = {}  # why a network or service waits, by id
        self._written: list[tuple[Object | None, Object]] = []  # by the item that is worked on: before, after
        self._ingress = ""

    def load_in_turns(self, view: View) -> Turns[None]:
        """Take up the state; `note` goes on from it."""
        self.index = view.index
        yield from self._addresses.load_in_turns(view)
        self._ports = Ports(view.services)
        found = ingress.find(view)
        self._ingress = found.id if found is not None else ""
        if ingress.missing(view):
            self._agenda.add(Kind.INGRESS, "")
        for network in view.networks:
            if not is_allocated(network):
                self._agenda.add(Kind.NETWORK, network.id)
        for node in view.nodes:
            if not self._has_ingress_address(node):
                self._agenda.add(Kind.NODE, node.id)
        for service in view.services:
            if not services.is_settled(service, view, found):
                self._agenda.add(Kind.SERVICE, service.id)
        for part in stretches(view.tasks):
            for task in part:
                if tasks.is_new(task):
                    self._agenda.add(Kind.TASK, task.id)
            yield

    @property
    def has_work(self) -> bool:
        return bool(self._agenda)

    # -- what others, and the ledger's own entries, have committed ---------------------------------
    def note(self, commits: Iterable[Commit], view: View) -> None:
        """`view` is at least as new as the last of them."""
        for commit in commits:
            for change in commit.changes:
                self._hold(change.old, change.new)
                match change.object:
                    case Network() as network:
                        self._note_network(change, network, view)
                    case Service() as service:
                        self._note_service(change, service, view)
                    case Node() as node:
                        self._note_node(change, node)
                    case Task() as task:
                        self._note_task(change, task)
                    case Cluster() if change.kind == "create":
                        self._agenda.add(Kind.INGRESS, "")
                        self._agenda.wake(SUBNETS)
            self.index = commit.index

    def _note_network(self, change: Change, network: Network, view: View) -> None:
        if change.new is None:
            self._addresses.forget(network.id)
            self._agenda.drop(Kind.NETWORK, network.id)
            self._reasons.pop(network.id, None)
            self._agenda.wake(SUBNETS)
            self._changed(network, view)
        elif is_allocated(network):
            if self._addresses.know(network) or not is_overlay(network.spec) or network.pending_delete:
                self._changed(network, view)
        else:
            self._agenda.add(Kind.NETWORK, network.id)
            self._ingress = network.id if network.spec.ingress else self._ingress

    def _note_service(self, change: Change, service: Service, view: View) -> None:
        old = change.old
        if change.new is None:
            self._agenda.drop(Kind.SERVICE, service.id)
            self._reasons.pop(service.id, None)
            self._agenda.wake(service_key(service.id))
        elif not isinstance(old, Service) or (old.spec, old.endpoint) != (service.spec, service.endpoint):
            self._agenda.wake(service_key(service.id))
            if not services.is_settled(service, view, self._ingress_of(view)):
                self._agenda.add(Kind.SERVICE, service.id)
            if services.publishes(service) and not self._ingress:
                self._agenda.add(Kind.INGRESS, "")  # a user removed it

    def _note_node(self, change: Change, node: Node) -> None:
        old = change.old
        if isinstance(old, Node) and _has_given_up(old, node if change.new is not None else None):
            self._agenda.wake(SUBNETS)
        if change.new is None:
            self._agenda.drop(Kind.NODE, node.id)
            self._reasons.pop(node.id, None)
        elif not self._has_ingress_address(node):
            self._agenda.add(Kind.NODE, node.id)

    def _note_task(self, change: Change, task: Task) -> None:
        if change.new is None or not tasks.is_new(task):
            self._agenda.drop(Kind.TASK, task.id)
        elif not isinstance(change.old, Task) or not tasks.is_new(change.old):
            self._agenda.add(Kind.TASK, task.id)

    def _hold(self, old: Object | None, new: Object | None) -> None:
        """Who has what now; those that wait for what became free are looked at again."""
        item = new or old
        assert item is not None
        for network_id in self._addresses.note_change(item.id, held(old), held(new)):
            self._agenda.wake(network_key(network_id))
        if isinstance(item, Service) and self._ports.note_change(item.id, published(old), published(new)):
            self._agenda.wake(PORTS)

    def _changed(self, network: Network, tables: Tables) -> None:
        """It has got its subnets, or is (to be) gone."""
        self._agenda.wake(network_key(network.id))
        if network.spec.ingress:
            found = ingress.find(tables)
            self._ingress = found.id if found is not None else ""
            self._agenda.wake(INGRESS)
            for node in tables.nodes:
                self._agenda.add(Kind.NODE, node.id)

    def _has_ingress_address(self, node: Node) -> bool:
        return any(
            a.network_id == self._ingress and self._addresses.holds(self._ingress, a.addresses, node.id)
            for a in node.attachments
        )

    # -- one entry ---------------------------------------------------------------------------------
    def settle_due(self, tx: Tx) -> None:
        """As much of what is due as fits the entry, at least one item. `note` must have come to `tx.base`.

        What waits on for the same reason writes nothing: so at most MAX_ITEMS are looked at.
        """
        looked_at = 0
        for kind in _KINDS:
            for id in self._in_order(kind, tx):
                if looked_at >= MAX_ITEMS:
                    return
                looked_at += 1
                mark = tx.mark()
                self._written = []
                waits: Waits | None = None
                try:
                    self._settle(kind, id, tx)
                except Waits as found:
                    waits = found
                    self._tell(kind, id, waits, tx)
                if mark and not tx.fits:
                    tx.undo_to(mark)
                    self._undo()
                    return
                if waits is None:
                    self._agenda.done(kind, id)
                else:
                    self._agenda.wait(kind, id, waits.key)

    def _in_order(self, kind: Kind, tx: Tx) -> Iterable[str]:
        """What asks for a certain subnet or port comes before what takes any."""
        due = self._agenda.due(kind)
        if kind is Kind.NETWORK:
            return sorted(due, key=lambda id: _rank(tx.networks.get(id)))
        if kind is Kind.SERVICE:
            return sorted(due, key=lambda id: not _asks_for_port(tx.services.get(id)))
        return due

    def _settle(self, kind: Kind, id: str, tx: Tx) -> None:
        match kind:
            case Kind.INGRESS:
                self._make_ingress(tx)
            case Kind.NETWORK:
                self._settle_network(id, tx)
            case Kind.NODE:
                self._settle_node(id, tx)
            case Kind.SERVICE:
                self._settle_service(id, tx)
            case Kind.TASK:
                self._settle_task(id, tx)

    def _make_ingress(self, tx: Tx) -> None:
        if ingress.missing(tx):
            made = tx.networks.put(ingress.new_network(self._new_id()))
            log.info("the ingress network is made", extra={"network": made.id})
            self._agenda.add(Kind.NETWORK, made.id)
            self._ingress = made.id

    def _settle_network(self, id: str, tx: Tx) -> None:
        network = tx.networks.get(id)
        if network is None or is_allocated(network):
            return
        try:
            plan = plan_network(network.spec, tx, self._random, network_id=id)
        except SwarmError as error:
            raise Waits(SUBNETS, str(error)) from error
        new = replace(network, ipam_options=plan.ipam_options, driver_state=plan.driver_state)
        new = tx.networks.put(new)
        self._reasons.pop(id, None)
        self._addresses.know(new)
        self._written.append((network, new))
        self._changed(new, tx)

    def _settle_node(self, id: str, tx: Tx) -> None:
        if (node := tx.nodes.get(id)) is None:
            return
        given = ingress.attachments(node, self._ingress_of(tx), self._addresses)
        if given != node.attachments:
            self._wrote(node, tx.nodes.put(replace(node, attachments=given)))

    def _settle_service(self, id: str, tx: Tx) -> None:
        if (service := tx.services.get(id)) is None:
            return
        try:
            endpoint = services.endpoint_for(service, tx, self._ingress_of(tx), self._addresses, self._ports)
        except Waits:
            kept = services.reduced(service, self._ingress_of(tx), self._addresses)
            if kept != service.endpoint:
                self._wrote(service, tx.services.put(replace(service, endpoint=kept)))
            raise
        if endpoint != service.endpoint:
            self._wrote(service, tx.services.put(replace(service, endpoint=endpoint)))
        self._reasons.pop(id, None)
        self._agenda.wake(service_key(id))

    def _settle_task(self, id: str, tx: Tx) -> None:
        task = tx.tasks.get(id)
        if task is None or not tasks.is_new(task):
            return
        why = self._reasons.get(task.service_id, "")
        settled = tasks.allocated(task, tx, self._addresses, self._ingress_of(tx), why, tx.now())
        self._wrote(task, tx.tasks.put(settled))

    def _tell(self, kind: Kind, id: str, waits: Waits, tx: Tx) -> None:
        """Users read it on tasks, also what keeps a task's service or network waiting."""
        reason = waits.reason
        if waits.key[0] == "network" and (known := self._reasons.get(waits.key[1])):
            reason = f"{reason}: {known}"
        if kind is Kind.TASK:
            task = tx.tasks.get(id)
            assert task is not None
            if (told := tasks.waiting(task, reason, tx.now())) is not task:
                self._wrote(task, tx.tasks.put(told))
        elif self._reasons.get(id) != reason:
            self._reasons[id] = reason
            facts = {"kind": kind.name.lower(), "object": id, "reason": reason}
            log.warning("something cannot be allocated yet", extra=facts)
            if kind is Kind.NETWORK:
                self._agenda.wake(network_key(id))
            elif kind is Kind.SERVICE:
                self._agenda.wake(service_key(id))

    def _wrote(self, old: Object, new: Object) -> None:
        self._written.append((old, new))
        self._hold(old, new)

    def _undo(self) -> None:
        """The last item did not fit the entry: it is left for the next one."""
        for old, new in reversed(self._written):
            self._hold(new, old)
            if isinstance(new, Network):
                self._addresses.forget(new.id)

    def _ingress_of(self, tables: Tables) -> Network | None:
        return tables.networks.get(self._ingress) if self._ingress else None


def _has_given_up(old: Node, new: Node | None) -> bool:
    """Whether the node's host is less in the way of networks than it was."""
    if new is not None and (old.description, old.status.addr) == (new.description, new.status.addr):
        return False
    return bool(set(host_networks(old)) - set(host_networks(new) if new is not None else ()))


def _rank(network: Network | None) -> tuple[bool, bool]:
    """First those that ask for a subnet, then the ingress network: every node needs it."""
    spec = network.spec if network is not None else NetworkSpec()
    configs = spec.ipam_options.configs if spec.ipam_options is not None else ()
    return not any(config.subnet for config in configs), not spec.ingress


def _asks_for_port(service: Service | None) -> bool:
    return service is not None and any(p.published_port for p in services.endpoint_spec(service).ports)
