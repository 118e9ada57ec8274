"""What a new task is made of."""

from __future__ import annotations

from msgspec.structs import replace

from manager.orchestrator.new_task import new_task
from swarmcore.model.base import Driver
from swarmcore.model.cluster import DEFAULT_SWARM_SPEC, Cluster, TaskDefaults
from tests.manager.orchestrator.objects import T0, S, at, service, template


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
