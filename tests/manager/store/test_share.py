"""Tasks of one service hold one spec in memory, and never another one than they were given."""

from __future__ import annotations

from msgspec import msgpack
from msgspec.structs import replace

from manager.store.share import shared_parts
from swarmcore.model.base import Annotations, Object
from swarmcore.model.container import ContainerSpec
from swarmcore.model.service import Service, ServiceSpec
from swarmcore.model.task import Task, TaskSpec, TaskState, TaskStatus

SPEC = TaskSpec(container_spec=ContainerSpec(image="demo", env=("A=1",)))
SERVICE = Service(id="s1", spec=ServiceSpec(name="web", task_template=SPEC))
TASK = Task(id="t1", service_id="s1", spec=SPEC, service_annotations=Annotations(name="web"))


def copied(task: Task) -> Task:
    """As it comes from the log: equal, and nothing of it is the same object."""
    return msgpack.decode(msgpack.encode(task), type=Task)


def test_a_tasks_parts_are_the_ones_that_are_there_already() -> None:
    new = replace(copied(TASK), status=TaskStatus(state=TaskState.RUNNING))
    shared = shared_parts(new, TASK, None)
    assert shared["spec"] is TASK.spec and shared["service_annotations"] is TASK.service_annotations
    assert "status" not in shared


def test_a_new_task_takes_its_services_spec() -> None:
    shared = shared_parts(copied(TASK), None, SERVICE)
    assert shared["spec"] is SERVICE.spec.task_template


def test_what_differs_stays_as_it_is() -> None:
    other = replace(copied(TASK), spec=TaskSpec(container_spec=ContainerSpec(image="demo", env=("A=2",))))
    assert "spec" not in shared_parts(other, TASK, None)
    assert "spec" not in shared_parts(other, None, SERVICE)
    assert "spec" not in shared_parts(other, TASK, SERVICE)


def test_what_is_shared_already_is_not_replaced_again() -> None:
    assert shared_parts(TASK, TASK, None) == {}
    assert "spec" not in shared_parts(replace(TASK, spec=SERVICE.spec.task_template), None, SERVICE)


def test_only_tasks_share() -> None:
    objects: tuple[Object, ...] = (SERVICE,)
    for each in objects:
        assert shared_parts(each, each, SERVICE) == {}
    assert shared_parts(copied(TASK), SERVICE, None) == {}
