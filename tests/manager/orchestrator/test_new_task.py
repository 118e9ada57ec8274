"""What a new task is made of, and when an existing one is out of date."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from manager.orchestrator.fitness import evicted
from manager.orchestrator.new_task import new_task
from manager.rules.current import is_current
from swarmcore.model.base import Driver
from swarmcore.model.cluster import DEFAULT_SWARM_SPEC, Cluster, TaskDefaults
from swarmcore.model.endpoint import Endpoint, EndpointMode, EndpointSpec, PortConfig, PublishMode
from swarmcore.model.node import Node
from swarmcore.model.policy import Placement
from swarmcore.model.resources import ResourceRequirements, Resources
from swarmcore.model.task import TaskSpec
from tests.manager.orchestrator.objects import T0, S, at, node, service, task, template

SSD = Placement(constraints=("node.labels.disk==ssd",))


def test_a_new_task_carries_what_it_needs_of_its_service() -> None:
    log = Driver(name="none")
    cluster = Cluster(id="c", spec=replace(DEFAULT_SWARM_SPEC, task_defaults=TaskDefaults(log_driver=log)))
    made = new_task(service(), 7, "t1", S.READY, at(1), cluster)
    assert (made.id, made.service_id, made.slot, made.desired_state) == ("t1", "svc", 7, S.READY)
    assert (made.status.state, made.status.timestamp, made.created_at) == (S.NEW, at(1), at(1))
    assert (made.spec, made.spec_version, made.log_driver) == (template(), service().spec_version, log)
    assert made.service_annotations.name == "web"
    assert made.node_id == ""


def test_its_own_log_driver_comes_before_the_swarms() -> None:
    own = replace(template(), log_driver=Driver(name="json-file"))
    assert new_task(service(1, own), 1, "t1", S.RUNNING, T0, None).log_driver == Driver(name="json-file")


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


def test_a_node_gives_up_the_youngest_tasks_that_it_cannot_hold() -> None:
    reserved = ResourceRequirements(reservations=Resources(nano_cpus=10**9))
    spec = replace(template(), resources=reserved)
    tasks = [task(f"t{n}", n, created=n, spec=spec) for n in (3, 1, 2)]
    free = task("free", 9, created=9)
    ending = task("ending", 4, desired=S.SHUTDOWN, created=0, spec=spec)
    assert evicted(node(cpus=2), [*tasks, free, ending]) == {"t3"}
    assert evicted(node(cpus=0), [*tasks, free]) == {"t1", "t2", "t3"}
    assert evicted(replace(node(), description=None), tasks) == frozenset()
