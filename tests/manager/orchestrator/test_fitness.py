"""Which tasks may stay on their nodes."""

from __future__ import annotations

from msgspec.structs import replace

from manager.orchestrator.fitness import evicted
from swarmcore.model.resources import ResourceRequirements, Resources
from tests.manager.orchestrator.objects import S, node, task, template


def test_a_node_gives_up_the_youngest_tasks_that_it_cannot_hold() -> None:
    reserved = ResourceRequirements(reservations=Resources(nano_cpus=10**9))
    spec = replace(template(), resources=reserved)
    tasks = [task(f"t{n}", n, created=n, spec=spec) for n in (3, 1, 2)]
    free = task("free", 9, created=9)
    ending = task("ending", 4, desired=S.SHUTDOWN, created=0, spec=spec)
    assert evicted(node(cpus=2), [*tasks, free, ending]) == {"t3"}
    assert evicted(node(cpus=0), [*tasks, free]) == {"t1", "t2", "t3"}
    assert evicted(replace(node(), description=None), tasks) == frozenset()
