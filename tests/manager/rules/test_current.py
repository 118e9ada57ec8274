"""When an existing task is out of date."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from manager.rules.current import is_current
from swarmcore.model.endpoint import Endpoint, EndpointMode, EndpointSpec, PortConfig, PublishMode
from swarmcore.model.node import Node
from swarmcore.model.policy import Placement
from swarmcore.model.task import TaskSpec
from tests.manager.orchestrator.objects import node, service, task, template

SSD = Placement(constraints=("node.labels.disk==ssd",))


@pytest.mark.parametrize(
    ("spec", "where", "current"),
    [
        (template(), node(), True),
        (template("web:2"), node(), False),
        (replace(template(), force_update=1), node(), False),
        (replace(template(), placement=SSD), node(labels={"disk": "ssd"}), True),
        (replace(template(), placement=SSD), node(labels={"disk": "hdd"}), False),
        (replace(template(), placement=SSD), None, False),
        (replace(template(), placement=Placement(max_replicas=1)), node(), False),
        (replace(template("web:2"), placement=SSD), node(labels={"disk": "ssd"}), False),
    ],
    ids=[
        "same",
        "image",
        "forced",
        "constraint met",
        "not met",
        "no node",
        "max replicas",
        "constraint and image",
    ],
)
def test_a_task_of_an_older_version_is_current_if_the_new_one_asks_for_the_same(
    spec: TaskSpec, where: Node | None, current: bool
) -> None:
    assert is_current(task(version=1), service(1, spec, version=2), where) is current


def test_a_task_of_the_services_version_is_current() -> None:
    assert is_current(task(spec=template("other")), service(), None)


@pytest.mark.parametrize(
    ("ports", "current"),
    [
        ((PortConfig(target_port=80, published_port=8080),), False),
        ((PortConfig(target_port=80, publish_mode=PublishMode.HOST),), False),
        ((), True),
    ],
    ids=["first port of the mesh", "port of the host", "none"],
)
def test_ports_that_need_more_than_a_task_has_make_it_out_of_date(
    ports: tuple[PortConfig, ...], current: bool
) -> None:
    old = replace(task(version=1), endpoint=Endpoint(spec=EndpointSpec(mode=EndpointMode.DNSRR)))
    made = service(version=2)
    made = replace(made, spec=replace(made.spec, endpoint_spec=EndpointSpec(ports=ports)))
    assert is_current(old, made, node()) is current
