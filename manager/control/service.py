"""Writes about services: create, update, roll back, remove. Tasks follow; nobody here makes them."""

from __future__ import annotations

from msgspec.structs import replace

from manager.control import ports, replicas, validate
from manager.control.lookup import lookup
from manager.control.service_networks import resolved
from manager.store.tx import Tx
from swarmcore.errors import Conflict, FailedPrecondition, Invalid, OutOfSequence, Unimplemented
from swarmcore.ids import random_name
from swarmcore.model.base import Version
from swarmcore.model.endpoint import Endpoint, EndpointSpec, needs_new_tasks
from swarmcore.model.service import Service, ServiceSpec, UpdateState, UpdateStatus, canonical, essence
from swarmcore.rpc.messages.control import ControlReply, CreateService, RemoveService, UpdateService

_PAUSED = frozenset({UpdateState.PAUSED, UpdateState.ROLLBACK_PAUSED})


def create(tx: Tx, request: CreateService) -> ControlReply:
    if (existing := tx.services.get(request.id)) is not None:
        return ControlReply(id=existing.id)  # the answer to an earlier attempt was lost
    spec = canonical(request.spec)
    if not spec.name:
        spec = replace(spec, name=_free_name(tx))
    validate.service_spec(spec)
    replicas.check(tx, spec)
    if tx.services.find("name", spec.name):
        raise Conflict(f"name conflicts with an existing object: service {spec.name} already exists")
    spec = resolved(tx.networks, spec)
    ports.check_free(tx, spec, request.id)
    # Version 1 is the spec as created; each change of the spec counts on.
    tx.services.put(
        Service(id=request.id, spec=spec, spec_version=Version(index=1), endpoint=_nothing_given(spec))
    )
    return ControlReply(id=request.id, warnings=validate.service_warnings(spec))


def _nothing_given(spec: ServiceSpec) -> Endpoint | None:
    """The endpoint of a service that asks for no port: with no network either it spares the allocator a commit."""
    wanted = spec.endpoint_spec or EndpointSpec()
    return None if wanted.ports else Endpoint(spec=wanted)


def _free_name(tx: Tx) -> str:
    while tx.services.find("name", name := random_name()):
        pass
    return name


def update(tx: Tx, request: UpdateService) -> ControlReply:
    service = lookup(tx.services, request.id, "service")
    if service.version.index != request.version:
        raise OutOfSequence(
            f"update out of sequence: service {service.spec.name} is at version {service.version.index}, "
            f"not {request.version}"
        )
    spec = _wanted(service, request)
    validate.service_spec(spec)
    replicas.check(tx, spec, service.spec)
    if spec.name != service.spec.name:
        raise Unimplemented("renaming services is not supported", "create a new service and remove this one")
    if spec.mode.name != service.spec.mode.name:
        raise Unimplemented("service mode change is not allowed", "create a new service and remove this one")
    spec = resolved(tx.networks, spec)
    ports.check_free(tx, spec, service.id)
    # Whatever the user sends lets a paused update go on, also the same spec again.
    paused = service.update_status is not None and service.update_status.state in _PAUSED
    resumed = None if paused else service.update_status
    if spec == service.spec:
        # Written all the same: clients take a larger version for "my update has arrived".
        tx.services.put(replace(service, update_status=resumed))
        return ControlReply(id=service.id, warnings=validate.service_warnings(spec))
    changed = _runs_anew(service.spec, spec)
    tx.services.put(
        replace(
            service,
            spec=spec,
            previous_spec=service.spec,
            previous_spec_version=service.spec_version,
            spec_version=Version(index=service.spec_version.index + 1) if changed else service.spec_version,
            update_status=_new_status(request) if changed else resumed,
        )
    )
    return ControlReply(id=service.id, warnings=validate.service_warnings(spec))


def _new_status(request: UpdateService) -> UpdateStatus | None:
    """An update under way ends here; the orchestrator says when the next one begins."""
    if not request.rollback:
        return None
    return UpdateStatus(state=UpdateState.ROLLBACK_STARTED, message="manually requested rollback")


def _wanted(service: Service, request: UpdateService) -> ServiceSpec:
    if request.rollback:
        if service.previous_spec is None:
            raise FailedPrecondition(
                f"service {service.spec.name} does not have a previous spec", "it was never updated"
            )
        return canonical(service.previous_spec)
    if request.spec is None:
        raise Invalid("the update has no spec")
    return canonical(request.spec)


def _runs_anew(old: ServiceSpec, new: ServiceSpec) -> bool:
    """Whether tasks of the old spec are not what the new one wants: scale, labels and mesh ports are outside them."""
    changed = essence(old.task_template) != essence(new.task_template)
    return changed or needs_new_tasks(old.endpoint_spec, new.endpoint_spec)


def remove(tx: Tx, request: RemoveService) -> ControlReply:
    service = lookup(tx.services, request.id, "service")
    tx.services.delete(service.id)
    return ControlReply(id=service.id)
