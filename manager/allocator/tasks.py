"""What a task gets before it may be placed: an address on each of its networks, and its service's endpoint."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from manager.allocator.addresses import Addresses
from manager.allocator.ports import ingress_ports
from manager.allocator.services import is_settled, resolved, wanted_networks
from manager.allocator.waiting import INGRESS, Waits, network_key, service_key
from manager.rules.network_plan import is_allocated, is_overlay
from manager.store.tables import Tables
from swarmcore.model.endpoint import Endpoint
from swarmcore.model.network import Network, NetworkAttachment
from swarmcore.model.task import Task, TaskState, TaskStatus

MESSAGE = "pending task scheduling"
WAITING = "waiting for addresses and ports"


def is_new(task: Task) -> bool:
    """A task that shall run. One that was given up while it was new stays so: nothing of it has to be undone."""
    return task.status.state is TaskState.NEW and task.desired_state <= TaskState.COMPLETE


def allocated(
    task: Task, tables: Tables, addresses: Addresses, ingress: Network | None, why: str, now: datetime
) -> Task:
    """The task, PENDING; addresses are taken at once. Raises Waits, and has taken nothing then.

    `why` its service is not ready, if it is not.
    """
    service = tables.services.get(task.service_id) if task.service_id else None
    if service is not None and not is_settled(service, tables, ingress):
        raise Waits(service_key(service.id), why or f"service {service.spec.name} has no endpoint yet")
    endpoint = task.endpoint if service is None else service.endpoint
    of_service = wanted_networks(service.spec) if service is not None else ()
    networks = resolved(task.spec.networks or of_service, tables.networks)
    overlays = [network for _, network in networks if is_overlay(network.spec)]
    if _published(endpoint):
        if ingress is None:
            raise Waits(INGRESS, "the swarm has no ingress network")
        if not is_allocated(ingress):
            raise Waits(network_key(ingress.id), f"network {ingress.spec.name} has no subnet yet")
        overlays += [ingress] if ingress not in overlays else []
    wishes = {network.id: config.addresses for config, network in networks}
    for network in overlays:
        addresses.check_room(network.id, wishes.get(network.id, ()))
    attachments = [
        NetworkAttachment(
            network_id=network.id,
            addresses=addresses.give_out(network.id, task.id, config.addresses)
            if network in overlays
            else (),
            aliases=config.aliases,
            driver_opts=dict(config.driver_opts),
        )
        for config, network in networks
    ]
    attached = {attachment.network_id for attachment in attachments}
    attachments += [
        NetworkAttachment(network_id=network.id, addresses=addresses.give_out(network.id, task.id))
        for network in overlays
        if network.id not in attached
    ]
    return replace(
        task,
        networks_attachments=tuple(attachments),
        endpoint=endpoint,
        status=TaskStatus(timestamp=now, state=TaskState.PENDING, message=MESSAGE),
    )


def waiting(task: Task, reason: str, now: datetime) -> Task:
    """The task, told why it is still NEW; the same object if it says so already."""
    if task.status.err == reason:
        return task
    return replace(task, status=replace(task.status, timestamp=now, message=WAITING, err=reason))


def _published(endpoint: Endpoint | None) -> bool:
    return endpoint is not None and bool(ingress_ports(endpoint.ports))
