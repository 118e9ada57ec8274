"""List filters, what users type for an object, and how far a service is."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from manager.control import filters
from manager.control.lookup import lookup_task
from manager.control.status import is_up_to_date, service_status
from manager.store.tables import View
from swarmcore.errors import Invalid, NotFound
from swarmcore.model.base import Annotations, Object, Version
from swarmcore.model.node import NodeRole, NodeSpec
from swarmcore.model.secret import Config, ConfigSpec
from swarmcore.model.task import Task, TaskState, TaskStatus
from tests.manager.control.bench import Bench, spec


def task(
    id: str, service_id: str, slot: int, state: TaskState, desired: TaskState, node_id: str = ""
) -> Task:
    return Task(
        id=id,
        spec=spec().task_template,
        spec_version=Version(index=1),
        service_id=service_id,
        slot=slot,
        node_id=node_id,
        status=TaskStatus(state=state),
        desired_state=desired,
        service_annotations=Annotations(name="web", labels={"tier": "front"}),
    )


@pytest.fixture
async def view() -> View:
    bench = await Bench().begin()
    web = await bench.create("web", Labels={"tier": "front"}, Mode={"Replicated": {"Replicas": 2}})
    await bench.create("worker", Labels={"tier": "back"})
    node = await bench.node("n1", hostname="alpha")
    await bench.node("n2", NodeRole.MANAGER, hostname="beta")
    s = TaskState
    async with bench.store.update() as tx:
        stored = tx.nodes.get(node.id)
        assert stored is not None
        tx.put(replace(stored, spec=NodeSpec(labels={"zone": "a"})))
        tx.put(task("t1", web.id, 1, s.RUNNING, s.RUNNING, "n1"))
        tx.put(task("t2", web.id, 2, s.PREPARING, s.RUNNING, "n2"))
        tx.put(task("t3", web.id, 2, s.FAILED, s.SHUTDOWN, "n2"))
        tx.put(Config(id="c1", spec=ConfigSpec(name="one", data=b"x", labels={"a": "b"})))
        tx.put(Config(id="c2", spec=ConfigSpec(name="two", data=b"x")))
    return bench.store.view()


def ids(found: Iterable[Object]) -> set[str]:
    return {each.id for each in found}


def test_nodes_are_chosen(view: View) -> None:
    assert ids(filters.nodes(view, {"role": ["worker"]})) == {"n1"}
    assert ids(filters.nodes(view, {"name": ["al"]})) == {"n1"}
    assert ids(filters.nodes(view, {"node.label": ["zone=a"]})) == {"n1"}
    assert ids(filters.nodes(view, {"node.label": ["zone=b"]})) == set()
    assert ids(filters.nodes(view, {"id": ["n1", "n2"]})) == {"n1", "n2"}
    with pytest.raises(Invalid, match="role"):
        filters.nodes(view, {"role": ["king"]})


def test_services_are_chosen(view: View) -> None:
    assert ids(filters.services(view, {"name": ["w"]})) == {"id-web", "id-worker"}
    assert ids(filters.services(view, {"name": ["web"], "label": ["tier=front"]})) == {"id-web"}
    assert ids(filters.services(view, {"name": ["web"], "label": ["tier=back"]})) == set()
    assert ids(filters.services(view, {"mode": ["global"]})) == set()
    with pytest.raises(Invalid):
        filters.services(view, {"mode": ["any"]})


def test_tasks_are_chosen(view: View) -> None:
    assert ids(filters.tasks(view, {"service": ["web"], "desired-state": ["running"]})) == {"t1", "t2"}
    assert ids(filters.tasks(view, {"node": ["beta"]})) == {"t2", "t3"}
    assert ids(filters.tasks(view, {"name": ["web.2"]})) == {"t2", "t3"}
    assert ids(filters.tasks(view, {"label": ["tier=front"]})) == {"t1", "t2", "t3"}
    assert ids(filters.tasks(view, {"_up-to-date": ["true"]})) == {"t1", "t2", "t3"}
    with pytest.raises(NotFound, match="service nothere"):
        list(filters.tasks(view, {"service": ["nothere"]}))
    with pytest.raises(Invalid, match="desired state"):
        list(filters.tasks(view, {"desired-state": ["sleeping"]}))


def test_configs_are_chosen_by_name_or_id_and_by_label(view: View) -> None:
    assert ids(filters.configs(view, {"name": ["one"], "id": ["c2"]})) == {"c1", "c2"}
    assert ids(filters.configs(view, {"names": ["on"]})) == set()
    assert ids(filters.configs(view, {"label": ["a=b"]})) == {"c1"}


def test_a_task_is_found_by_its_name(view: View) -> None:
    assert lookup_task(view.tasks, "web.1.t1").id == "t1"
    assert lookup_task(view.tasks, "t1").id == "t1"
    with pytest.raises(Invalid, match="ambiguous"):
        lookup_task(view.tasks, "t")
    with pytest.raises(NotFound):
        lookup_task(view.tasks, "web.9.t9")


def test_the_status_counts_what_runs_and_what_shall(view: View) -> None:
    (web,) = view.services.find("name", "web")
    status = service_status(view, web)
    assert (status.running_tasks, status.desired_tasks) == (1, 2)


def test_a_task_of_an_older_spec_is_not_up_to_date(view: View) -> None:
    (web,) = view.services.find("name", "web")
    newer = replace(web, spec=spec(image="app:2"), spec_version=Version(index=2))
    found = view.tasks.get("t1")
    assert found is not None
    assert is_up_to_date(web, found) and not is_up_to_date(newer, found) and not is_up_to_date(None, found)
