from __future__ import annotations

import pytest

from manager.scheduler.filters import checks_for, explain, fits
from swarmcore.model.base import Driver, Platform
from swarmcore.model.container import ContainerSpec, Mount, VolumeOptions
from swarmcore.model.node import Availability, Node, NodeState, Plugin
from swarmcore.model.policy import Placement
from swarmcore.model.resources import Resources
from swarmcore.model.task import Task, TaskSpec, TaskState
from tests.manager.scheduler.objects import count, info, named, node, running, task

ARM = Platform(architecture="aarch64", os="linux")
GPUS = (named("gpu", "a"), named("gpu", "b"))


@pytest.mark.parametrize(
    ("of", "accepted"),
    [
        (node(), True),
        (node(state=NodeState.DOWN), False),
        (node(state=NodeState.UNKNOWN), False),
        (node(state=NodeState.DISCONNECTED), False),
        (node(availability=Availability.PAUSE), False),
        (node(availability=Availability.DRAIN), False),
    ],
)
def test_only_ready_and_active_nodes_take_tasks(of: Node, accepted: bool) -> None:
    assert fits(checks_for(task()), info(of)) is accepted


@pytest.mark.parametrize(
    ("reserve", "accepted"),
    [
        (Resources(), True),
        (Resources(nano_cpus=4_000_000_000, memory_bytes=1000), True),
        (Resources(nano_cpus=4_000_000_001), False),
        (Resources(memory_bytes=1001), False),
        (Resources(generic_resources=(count("gpu", 2),)), True),
        (Resources(generic_resources=(count("gpu", 3),)), False),
        (Resources(generic_resources=(count("ssd", 3),)), True),
        (Resources(generic_resources=(count("ssd", 4),)), False),
        (Resources(generic_resources=(count("fpga", 1),)), False),
    ],
)
def test_what_is_reserved_must_be_free(reserve: Resources, accepted: bool) -> None:
    has = Resources(nano_cpus=4_000_000_000, memory_bytes=1000, generic_resources=(*GPUS, count("ssd", 3)))
    assert fits(checks_for(task(reserve=reserve)), info(node(resources=has))) is accepted


def test_a_task_that_is_to_end_holds_its_resources_until_it_has_ended() -> None:
    checks = checks_for(task(reserve=Resources(memory_bytes=600)))
    held = task(
        "t2",
        node_id="n1",
        reserve=Resources(memory_bytes=600),
        state=TaskState.RUNNING,
        desired=TaskState.SHUTDOWN,
    )
    busy = info(node(), held)
    assert not fits(checks, busy)
    busy.remove("t2")
    assert fits(checks, busy)


def test_an_overcommitted_node_takes_tasks_that_reserve_nothing_of_it() -> None:
    full = info(node(), task("t2", node_id="n1", reserve=Resources(memory_bytes=2000)))
    assert fits(checks_for(task(reserve=Resources(nano_cpus=1))), full)
    assert not fits(checks_for(task(reserve=Resources(memory_bytes=1))), full)


@pytest.mark.parametrize(
    ("constraints", "accepted"),
    [
        (("node.labels.disk==ssd",), True),
        (("node.labels.disk!=ssd",), False),
        (("node.labels.disk==ssd", "node.hostname==n2"), False),
        (("no constraint at all",), False),
    ],
)
def test_all_constraints_must_hold(constraints: tuple[str, ...], accepted: bool) -> None:
    checks = checks_for(task(placement=Placement(constraints=constraints)))
    assert fits(checks, info(node(labels={"disk": "ssd"}))) is accepted


@pytest.mark.parametrize(
    ("platforms", "accepted"),
    [
        ((), True),
        ((Platform(architecture="amd64", os="linux"),), True),
        ((Platform(architecture="x86_64"),), True),
        ((Platform(os="linux"),), True),
        ((Platform(architecture="arm64", os="linux"),), False),
        ((Platform(architecture="amd64", os="windows"),), False),
        ((ARM, Platform(architecture="amd64", os="linux")), True),
    ],
)
def test_one_of_the_images_platforms_must_be_the_nodes(
    platforms: tuple[Platform, ...], accepted: bool
) -> None:
    assert fits(checks_for(task(placement=Placement(platforms=platforms))), info(node())) is accepted


def test_both_names_of_an_architecture_are_the_same() -> None:
    checks = checks_for(task(placement=Placement(platforms=(Platform(architecture="arm64"),))))
    assert fits(checks, info(node(platform=ARM)))
    assert not fits(checks, info(Node(id="n1", spec=node().spec, status=node().status)))


def test_a_node_runs_at_most_max_replicas_of_a_service() -> None:
    checks = checks_for(task(placement=Placement(max_replicas=2)))
    assert fits(checks, info(node(), running("a", "n1"), running("b", "n1", service="other")))
    assert not fits(checks, info(node(), running("a", "n1"), running("b", "n1")))


def test_a_host_port_serves_one_task() -> None:
    checks = checks_for(task(host_port=80))
    assert fits(checks, info(node(), task("t2", node_id="n1", host_port=81)))
    assert not fits(checks, info(node(), task("t2", node_id="n1", host_port=80)))


def with_volume(driver: str) -> Task:
    options = VolumeOptions(driver_config=Driver(name=driver))
    mount = Mount(target="/data", volume_options=options)
    return Task(id="t1", spec=TaskSpec(container_spec=ContainerSpec(mounts=(mount,))))


def with_log(driver: str) -> Task:
    return Task(id="t1", spec=TaskSpec(log_driver=Driver(name=driver)))


@pytest.mark.parametrize(
    ("wanted", "plugins", "accepted"),
    [
        (with_volume("local"), (), True),
        (with_volume("nfs"), (), False),
        (with_volume("nfs"), (Plugin(type="Volume", name="nfs"),), True),
        (with_volume("nfs"), (Plugin(type="Network", name="nfs"),), False),
        (with_log("journald"), (), True),
        (with_log("journald"), (Plugin(type="Log", name="json-file"),), False),
        (with_log("none"), (Plugin(type="Log", name="json-file"),), True),
    ],
)
def test_named_drivers_must_be_there(wanted: Task, plugins: tuple[Plugin, ...], accepted: bool) -> None:
    assert fits(checks_for(wanted), info(node(plugins=plugins))) is accepted


def test_the_explanation_counts_each_node_once_and_starts_with_the_most_frequent_reason() -> None:
    wanted = task(
        placement=Placement(constraints=("node.labels.disk==ssd",), max_replicas=1),
        reserve=Resources(memory_bytes=1000),
    )
    ssd = {"disk": "ssd"}
    small = Resources(memory_bytes=10)
    nodes = [
        info(node("n1", state=NodeState.DOWN, resources=small)),
        info(node("n2")),
        info(node("n3")),
        info(node("n4", labels=ssd, resources=small)),
        info(node("n5", labels=ssd), running("a", "n5")),
        info(node("n6", resources=small)),
        info(node("n7", resources=small)),
    ]
    assert explain(checks_for(wanted), nodes) == (
        "insufficient resources on 3 nodes; "
        "scheduling constraints not satisfied on 2 nodes; "
        "1 node not available for new tasks; "
        "max replicas per node limit exceed"
    )


def test_every_refusal_reads_as_dockers() -> None:
    wanted = task(
        placement=Placement(constraints=("a1==b",), platforms=(ARM,), max_replicas=1),
        reserve=Resources(memory_bytes=1),
        host_port=80,
    )
    checks = checks_for(wanted)
    assert [check.refusal(1) for check in checks] == [
        "1 node not available for new tasks",
        "insufficient resources on 1 node",
        "scheduling constraints not satisfied on 1 node",
        "unsupported platform on 1 node",
        "host-mode port already in use on 1 node",
        "max replicas per node limit exceed",
    ]
    assert checks_for(with_volume("nfs"))[1].refusal(2) == "missing plugin on 2 nodes"
    assert explain(checks, []) == ""
