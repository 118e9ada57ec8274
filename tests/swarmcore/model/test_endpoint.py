"""Which changes of ports reach into running containers."""

from __future__ import annotations

import pytest

from swarmcore.model.endpoint import (
    EndpointMode,
    EndpointSpec,
    PortConfig,
    Protocol,
    PublishMode,
    needs_new_tasks,
)

MESH = PortConfig(target_port=80, published_port=8080)
HOST = PortConfig(target_port=80, published_port=8080, publish_mode=PublishMode.HOST)
HOST_UDP = PortConfig(
    target_port=80, published_port=8080, publish_mode=PublishMode.HOST, protocol=Protocol.UDP
)
NAMED = PortConfig(name="http", target_port=80, published_port=8080, publish_mode=PublishMode.HOST)
OTHER_MESH = PortConfig(target_port=81, published_port=8081)


def ports(*given: PortConfig, mode: EndpointMode = EndpointMode.VIP) -> EndpointSpec:
    return EndpointSpec(ports=given, mode=mode)


@pytest.mark.parametrize(
    ("old", "new", "needed"),
    [
        (None, ports(), False),
        (ports(), ports(MESH), True),
        (ports(MESH), ports(OTHER_MESH), False),
        (ports(MESH), ports(MESH, OTHER_MESH), False),
        (ports(MESH), None, False),
        (ports(), ports(HOST), True),
        (ports(HOST), ports(), True),
        (ports(HOST), ports(HOST_UDP), True),
        (ports(HOST), ports(NAMED), False),
        (ports(HOST, HOST_UDP), ports(HOST_UDP, HOST), False),
        (ports(HOST), ports(HOST, HOST), True),
        (ports(), ports(mode=EndpointMode.DNSRR), False),
    ],
)
def test_only_ports_of_the_host_and_the_first_of_the_mesh_need_new_tasks(
    old: EndpointSpec | None, new: EndpointSpec | None, needed: bool
) -> None:
    assert needs_new_tasks(old, new) is needed
