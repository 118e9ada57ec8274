"""The networks of a service: from what the user typed to ids, and what may be combined."""

from __future__ import annotations

from msgspec.structs import replace

from manager.control.aliases import check_aliases
from manager.control.lookup import lookup_network
from manager.store.tables import Reader
from swarmcore.errors import Invalid, NotFound
from swarmcore.model.endpoint import PublishMode
from swarmcore.model.network import PREDEFINED, Network, NetworkAttachmentConfig
from swarmcore.model.service import ServiceSpec


def resolved(networks: Reader[Network], spec: ServiceSpec) -> ServiceSpec:
    """A canonical spec with its networks by id, which a later rename or a second network cannot change.

    Networks that each host has of its own (host, none, bridge) keep their names.
    """
    if spec.networks:
        raise Invalid("the networks are given twice, and not the same", "use TaskTemplate.Networks alone")
    wanted = spec.task_template.networks
    attachments = tuple(_resolve(networks, one) for one in wanted)
    seen: set[str] = set()
    for attachment, said in zip(attachments, wanted, strict=True):
        if attachment.target in seen:
            raise Invalid(f"network {said.target} is attached more than once")
        seen.add(attachment.target)
    if own := seen & PREDEFINED:
        _check_own(min(own), spec, alone=len(seen) == 1)
    return replace(spec, task_template=replace(spec.task_template, networks=attachments))


def _resolve(networks: Reader[Network], wanted: NetworkAttachmentConfig) -> NetworkAttachmentConfig:
    if wanted.target in PREDEFINED:
        if wanted.aliases:
            raise Invalid(f"the network {wanted.target} has no names, so it takes no aliases")
        return wanted
    check_aliases(wanted.target, wanted.aliases)
    try:
        network = lookup_network(networks, wanted.target)
    except NotFound as missing:
        raise Invalid(str(missing), "create it first; services join networks of the swarm only") from None
    if network.spec.ingress:
        raise Invalid(
            f'Service cannot be explicitly attached to the ingress network "{network.spec.name}"',
            "publish a port instead",
        )
    return replace(wanted, target=network.id)


def _check_own(name: str, spec: ServiceSpec, *, alone: bool) -> None:
    if not alone:
        raise Invalid(f"the network {name} cannot be combined with other networks")
    modes = {port.publish_mode for port in spec.endpoint_spec.ports} if spec.endpoint_spec else set()
    if name == "none" and modes:
        raise Invalid("a service on the network none cannot publish ports")
    if name == "host" and PublishMode.INGRESS in modes:
        raise Invalid(
            "a service on the network host cannot publish ports to the routing mesh",
            "its containers open ports of the host themselves; tell the scheduler of them with mode=host",
        )
