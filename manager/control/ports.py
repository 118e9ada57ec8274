"""Rules for published ports: within one service, and against the ports of the others."""

from __future__ import annotations

from collections.abc import Iterator

from manager.store.tables import Tables
from swarmcore.errors import Invalid
from swarmcore.model.endpoint import EndpointMode, EndpointSpec, PortConfig, Protocol, PublishMode
from swarmcore.model.service import Service, ServiceSpec

_HIGHEST = 65535
MAX_CHOSEN = 512  # ports that the swarm looks for: each is compared with all others


def check(spec: EndpointSpec) -> None:
    """What does not depend on other services."""
    if (chosen := sum(not port.published_port for port in spec.ports)) > MAX_CHOSEN:
        raise Invalid(
            f"EndpointSpec: {chosen} ports without a published port, at most {MAX_CHOSEN} are chosen for a service",
            "publish them under numbers of your own",
        )
    seen: set[tuple[Protocol, int]] = set()
    for port in spec.ports:
        if not 0 < port.target_port <= _HIGHEST or not 0 <= port.published_port <= _HIGHEST:
            raise Invalid(
                f"invalid port {port.published_port}:{port.target_port}", f"ports go from 1 to {_HIGHEST}"
            )
        if spec.mode is EndpointMode.DNSRR and port.publish_mode is PublishMode.INGRESS:
            raise Invalid(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
                "publish it with mode=host, or use the endpoint mode vip",
            )
        key = (port.protocol, port.published_port)
        if port.published_port and key in seen:
            raise Invalid(f"EndpointSpec: duplicate published port {port.published_port}/{port.protocol}")
        seen.add(key)


def check_free(view: Tables, spec: ServiceSpec, service_id: str) -> None:
    """Invalid (as in Docker) if another service has one of the spec's ports.

    A port of the routing mesh is open on every node. Ports of mode host clash only where two tasks meet on one
    node: that is the scheduler's to avoid.
    """
    wanted = {
        (port.protocol, port.published_port): port.publish_mode
        for port in (spec.endpoint_spec.ports if spec.endpoint_spec else ())
        if port.published_port
    }
    if not wanted:
        return
    for cluster in view.clusters:
        if (Protocol.UDP, cluster.overlay_port) in wanted:
            raise Invalid(
                f"port '{cluster.overlay_port}/udp' is the data path port of the swarm's hosts",
                "publish another port",
            )
    for service in view.services:
        if service.id == service_id:
            continue
        for port in _ports(service):
            mode = wanted.get((port.protocol, port.published_port))
            if mode is None or (mode is PublishMode.HOST and port.publish_mode is PublishMode.HOST):
                continue
            how = "an ingress" if port.publish_mode is PublishMode.INGRESS else "a host-published"
            raise Invalid(
                f"port '{port.published_port}' is already in use by service '{service.spec.name}' "
                f"({service.id}) as {how} port",
                "publish another port, or leave the published port out to get a free one",
            )


def _ports(service: Service) -> Iterator[PortConfig]:
    """What it asks for and what it was given: an update may not have reached the allocator yet."""
    if service.spec.endpoint_spec is not None:
        yield from service.spec.endpoint_spec.ports
    if service.endpoint is not None:
        yield from service.endpoint.ports
