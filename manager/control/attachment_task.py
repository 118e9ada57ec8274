"""Containers outside of services on networks of the swarm: the task that stands for one, made and given up.

Docker calls it an attachment task: it has no service, its node is given, and it runs for as long as the container
is on the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network

from msgspec.structs import replace

from manager.control.aliases import check_aliases, is_dns_name
from manager.control.lookup import lookup_network
from manager.rules.current import is_attachment, is_on_network
from manager.store.tables import Tables
from manager.store.tx import Tx
from swarmcore.errors import Conflict, Forbidden, Invalid, NotFound
from swarmcore.ipam import contains
from swarmcore.model.network import OVERLAY, Network, NetworkAttachmentConfig
from swarmcore.model.task import NetworkAttachmentSpec, RuntimeType, Task, TaskSpec, TaskState, TaskStatus
from swarmcore.rpc.messages.control import AttachContainer, ControlReply, DetachContainer
from swarmcore.text.patterns import Pattern

_CONTAINER_ID = Pattern(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}", 128)
_MOST_ATTACHMENTS = 5_000  # of one node, so that it cannot fill the store
_MOST_NAMES = 64  # of one container on one network: they are told to every node of the network


def attach(tx: Tx, request: AttachContainer) -> ControlReply:
    """Makes the task; allocator and scheduler do the rest, or its status says why they cannot."""
    if (existing := tx.tasks.get(request.id)) is not None:
        if not _is_same(existing, request):
            raise Conflict(f"task {request.id} already exists")
        return ControlReply(id=existing.id)  # the answer to an earlier attempt was lost
    if request.node_id not in tx.nodes:
        raise NotFound(f"node {request.node_id} not found")
    network = lookup_network(tx.networks, request.network)
    _check_attachable(network)
    _check_names(request, network)
    addresses = _addresses(request.addresses, network)
    mine = tx.tasks.find("node_id", request.node_id)
    if any(_is_there(task, network, request) for task in mine):
        raise Forbidden(f"endpoint with name {request.name} already exists in network {network.spec.name}")
    if sum(map(is_attachment, mine)) >= _MOST_ATTACHMENTS:
        raise Forbidden(
            f"node {request.node_id} has {_MOST_ATTACHMENTS} containers on networks of the swarm already",
            "remove some of them",
        )
    wish = NetworkAttachmentConfig(
        target=network.id, aliases=tuple(dict.fromkeys(request.aliases)), addresses=addresses
    )
    tx.tasks.put(
        Task(
            id=request.id,
            name=request.name,
            spec=TaskSpec(
                runtime=RuntimeType.ATTACHMENT,
                network_attachment_spec=NetworkAttachmentSpec(container_id=request.container_id),
                networks=(wish,),
            ),
            node_id=request.node_id,
            desired_state=TaskState.RUNNING,
            status=TaskStatus(timestamp=tx.now(), state=TaskState.NEW, message="created"),
        )
    )
    return ControlReply(id=request.id)


def detach(tx: Tx, request: DetachContainer) -> ControlReply:
    """The task shall be removed; attachment_reaper.py deletes it once it has ended. Harmless if it is ending."""
    found = list(_named(tx, request))
    if not found:
        what = f"attachment {request.id}" if request.id else f"container {request.container_id}"
        where = f" on network {request.network}" if request.network else ""
        raise NotFound(f"{what} not found{where}")
    for task in found:
        if task.desired_state < TaskState.REMOVE:
            tx.tasks.put(replace(task, desired_state=TaskState.REMOVE))
    return ControlReply(id=found[0].id)


def container_of(task: Task) -> str:
    """The container that an attachment stands for; of other tasks the one that they run, if they said so."""
    if task.spec.network_attachment_spec is not None:
        return task.spec.network_attachment_spec.container_id
    status = task.status.container_status
    return status.container_id if status is not None else ""


def _named(tx: Tables, request: DetachContainer) -> Iterator[Task]:
    if request.id:
        task = tx.tasks.get(request.id)
        if task is not None and is_attachment(task) and request.node_id in ("", task.node_id):
            yield task
        return
    network = lookup_network(tx.networks, request.network)
    for task in tx.tasks.find("node_id", request.node_id):
        if is_attachment(task) and is_on_network(task, network.id) and _stands_for(task, request):
            yield task


def _stands_for(task: Task, request: AttachContainer | DetachContainer) -> bool:
    return bool(request.container_id) and container_of(task) == request.container_id


def _is_same(task: Task, request: AttachContainer) -> bool:
    return is_attachment(task) and task.node_id == request.node_id and _stands_for(task, request)


def _is_there(task: Task, network: Network, request: AttachContainer) -> bool:
    """One that is to be removed does not count: a container may leave a network and join it anew at once."""
    if task.desired_state >= TaskState.REMOVE or not is_on_network(task, network.id):
        return False
    return _stands_for(task, request)


def _check_attachable(network: Network) -> None:
    name, spec = network.spec.name, network.spec
    if spec.attachable and not spec.ingress and spec.driver == OVERLAY:
        return
    hint = "create the network with --attachable"
    if spec.ingress or spec.driver != OVERLAY:
        hint = "only overlay networks other than the ingress network can be joined by containers"
    raise Forbidden(f"Could not attach to network {name}: network {name} not manually attachable", hint)


def _check_names(request: AttachContainer, network: Network) -> None:
    if _CONTAINER_ID.fullmatch(request.container_id) is None:
        raise Invalid(f"invalid container id {request.container_id[:140]!r}")
    if not is_dns_name(request.name):
        raise Invalid(f"invalid container name {request.name[:260]!r}", "it must be a name as DNS knows them")
    if len(request.aliases) > _MOST_NAMES:
        raise Invalid(f"{len(request.aliases)} aliases on network {network.spec.name}: at most {_MOST_NAMES}")
    check_aliases(network.spec.name, request.aliases)


def _addresses(wanted: Sequence[str], network: Network) -> tuple[str, ...]:
    """The wishes in their shortest form. Whether one is free only the allocator knows."""
    found: dict[int, str] = {}
    options = network.ipam_options
    subnets = [ip_network(config.subnet) for config in options.configs] if options is not None else None
    for text in wanted:
        try:
            address = ip_address(text)
        except ValueError:
            raise Invalid(f"invalid address {text[:60]!r}", "write it like 10.1.0.7") from None
        if address.version in found:
            raise Invalid(f"two IPv{address.version} addresses on network {network.spec.name}", "ask for one")
        if subnets is not None and not any(contains(subnet, str(address)) for subnet in subnets):
            raise Invalid(
                f"invalid address {address}: it does not belong to any of the subnets of network "
                f"{network.spec.name}"
            )
        found[address.version] = str(address)
    return tuple(found[version] for version in sorted(found))
