"""What a task's sandbox is made from."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from netoverlay.containers.sandboxes import Resolving
from swarmcore.errors import Invalid
from swarmcore.model.base import Annotations
from swarmcore.model.endpoint import Endpoint, PortConfig, Protocol, PublishMode
from swarmcore.model.network import NetworkAttachment, NetworkAttachmentConfig
from swarmcore.model.overlay import NetworkTable, OverlayNetwork, endpoint_mac
from swarmcore.model.task import Task, TaskSpec
from worker.networks.spec import sandbox_spec
from worker.tasks.container_plan import drain_seconds, network_plan

TABLES = {
    "shop": NetworkTable(network=OverlayNetwork(id="shop", name="shop")),
    "secret": NetworkTable(network=OverlayNetwork(id="secret", name="secret", internal=True)),
    "mesh": NetworkTable(network=OverlayNetwork(id="mesh", name="ingress", ingress=True)),
}
RESOLVING = Resolving(upstreams=("10.0.0.53", "9.9.9.9"), from_host=("10.0.0.53",))


def on(*networks: str) -> Task:
    attachments = tuple(
        NetworkAttachment(network_id=name, addresses=(f"10.{place}.0.5/24",))
        for place, name in enumerate(networks)
    )
    return Task(id="t1", networks_attachments=attachments)


def keep(port: PortConfig) -> int:
    return port.published_port or 40000


def test_overlays_become_interfaces_in_order_and_the_mesh_only_an_address() -> None:
    spec = sandbox_spec(network_plan(on("shop", "mesh", "secret")), "c1", TABLES, RESOLVING, keep)
    assert [(j.interface, j.network_id) for j in spec.joins] == [("eth0", "shop"), ("eth1", "secret")]
    assert spec.joins[0].mac == endpoint_mac("t1", "shop") != spec.joins[1].mac
    assert spec.ingress == ("10.1.0.5/24",)
    assert spec.gateway


def test_a_container_on_internal_networks_alone_has_no_way_out_and_no_resolver_of_the_host() -> None:
    spec = sandbox_spec(network_plan(on("secret")), "c1", TABLES, RESOLVING, keep)
    assert not spec.gateway
    assert spec.resolving.from_host == ()
    assert spec.resolving.upstreams == RESOLVING.upstreams


def test_a_container_without_networks_has_a_way_out() -> None:
    spec = sandbox_spec(network_plan(on()), "c1", TABLES, RESOLVING, keep)
    assert spec.gateway
    assert spec.joins == ()


def test_a_network_or_a_service_frees_its_containers_of_the_checks_of_their_ports() -> None:
    free = {**TABLES, "lax": NetworkTable(network=OverlayNetwork(id="lax", name="lax", antispoof=False))}
    spec = sandbox_spec(network_plan(on("shop", "lax")), "c1", free, RESOLVING, keep)
    assert [join.antispoof for join in spec.joins] == [True, False]
    labelled = Annotations(name="web", labels={"pyswarm.antispoof": "off"})
    task = replace(on("shop"), service_annotations=labelled)
    assert [
        join.antispoof for join in sandbox_spec(network_plan(task), "c1", TABLES, RESOLVING, keep).joins
    ] == [False]


def test_an_attachment_without_an_address_is_refused() -> None:
    task = Task(id="t1", networks_attachments=(NetworkAttachment(network_id="shop"),))
    with pytest.raises(Invalid, match="no address on network shop"):
        sandbox_spec(network_plan(task), "c1", TABLES, RESOLVING, keep)


def test_ports_of_mode_host_are_published_here_with_the_number_chosen() -> None:
    ports = (
        PortConfig(target_port=80, published_port=8080),
        PortConfig(target_port=53, protocol=Protocol.UDP, publish_mode=PublishMode.HOST),
        PortConfig(target_port=90, published_port=9000, publish_mode=PublishMode.HOST),
    )
    spec = sandbox_spec(
        network_plan(replace(on(), endpoint=Endpoint(ports=ports))), "c1", TABLES, RESOLVING, keep
    )
    assert [(p.target_port, p.published_port) for p in spec.host_ports] == [(53, 40000), (90, 9000)]


@pytest.mark.parametrize(("target", "name"), [("host", "host"), ("none", "none"), ("n1", "")])
def test_predefined_networks_are_told_from_the_swarms(target: str, name: str) -> None:
    spec = TaskSpec(networks=(NetworkAttachmentConfig(target=target),))
    assert network_plan(Task(id="t1", spec=spec)).predefined == name


def test_the_drain_time_is_the_label_or_two_seconds() -> None:
    assert drain_seconds(on()) == 2.0
    labelled = Annotations(name="web", labels={"pyswarm.drain": "1m30s"})
    assert drain_seconds(replace(on(), service_annotations=labelled)) == 90.0
