"""List filters, what users type for an object, and how far a service is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from manager.control import filters
from manager.control.lookup import lookup_task
from manager.control.status import is_up_to_date, service_status
from manager.store.tables import NODES, SERVICES, Table, View
from pyswarmd.engine.swarm.nodes import FILTERS as NODE_KEYS
from pyswarmd.engine.swarm.secrets import FILTERS as DATA_KEYS
from pyswarmd.engine.swarm.services import FILTERS as SERVICE_KEYS
from pyswarmd.engine.swarm.tasks import FILTERS as TASK_KEYS
from swarmcore.errors import Invalid, NotFound
from swarmcore.model.base import Annotations, Object, Version
from swarmcore.model.node import (
    EngineDescription,
    NodeDescription,
    NodeRole,
    NodeSpec,
    NodeState,
    NodeStatus,
)
from swarmcore.model.policy import Placement
from swarmcore.model.secret import Config, ConfigSpec
from swarmcore.model.service import Service, canonical
from swarmcore.model.task import Task, TaskState, TaskStatus
from tests.manager.control.bench import Bench, spec


def task(
    id: str, service_id: str, slot: int, state: TaskState, desired: TaskState, node_id: str = ""
) -> Task:
    return Task(
        id=id,
        spec=canonical(spec()).task_template,
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
    other = await bench.node("n2", NodeRole.MANAGER, hostname="beta")
    s = TaskState
    async with bench.store.update() as tx:
        engine = EngineDescription(labels={"disk": "ssd"})
        tx.put(replace(other, description=NodeDescription(hostname="beta", engine=engine)))
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


def test_a_node_is_chosen_by_membership_and_by_the_labels_of_its_engine(view: View) -> None:
    assert ids(filters.nodes(view, {"membership": ["accepted"], "name": ["alpha", "beta"]})) == {"n1", "n2"}
    assert ids(filters.nodes(view, {"membership": ["pending"]})) == set()
    assert ids(filters.nodes(view, {"label": ["disk=ssd"]})) == {"n2"}
    with pytest.raises(Invalid, match="membership"):
        filters.nodes(view, {"membership": ["guest"]})


def test_a_key_without_values_asks_for_nothing(view: View) -> None:
    """Clients send `{"name": {}}`, too."""
    assert len(ids(filters.nodes(view, {key: [] for key in NODE_KEYS}))) == 3
    assert len(ids(filters.services(view, {key: [] for key in SERVICE_KEYS}))) == 2
    assert len(ids(filters.tasks(view, {key: [] for key in TASK_KEYS}))) == 3
    assert len(ids(filters.configs(view, {key: [] for key in DATA_KEYS}))) == 2


def test_every_key_that_the_api_takes_is_known(view: View) -> None:
    """A value that fits nothing, or that is refused: never a fault."""
    for choose, keys in (
        (filters.nodes, NODE_KEYS),
        (filters.services, SERVICE_KEYS),
        (filters.tasks, TASK_KEYS),
        (filters.configs, DATA_KEYS),
    ):
        for key in keys:
            try:
                found = ids(choose(view, {key: ["nothing-has-this"]}))
            except (Invalid, NotFound):
                continue
            assert found == set() or key == "_up-to-date"


def test_all_of_several_labels_must_hold_and_any_of_several_names(view: View) -> None:
    assert ids(filters.services(view, {"label": ["tier=front", "tier"]})) == {"id-web"}
    assert ids(filters.services(view, {"label": ["tier=front", "other"]})) == set()
    assert ids(filters.services(view, {"name": ["web", "worker"]})) == {"id-web", "id-worker"}
    assert ids(filters.services(view, {"runtime": ["container"]})) == {"id-web", "id-worker"}
    assert ids(filters.services(view, {"mode": ["replicated"]})) == {"id-web", "id-worker"}


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


@pytest.mark.parametrize(("state", "running"), [(NodeState.DOWN, 0), (NodeState.DISCONNECTED, 1)])
def test_what_last_ran_on_a_node_that_is_down_does_not_count(
    view: View, state: NodeState, running: int
) -> None:
    (web,) = view.services.find("name", "web")
    nodes = [replace(node, status=NodeStatus(state=state)) for node in view.nodes]
    later = dataclasses.replace(view, nodes=Table(NODES, nodes).freeze())
    assert service_status(later, web).running_tasks == running
    assert service_status(dataclasses.replace(view, nodes=Table(NODES).freeze()), web).running_tasks == 0


def test_a_scaled_service_tells_how_many_it_wants_though_it_has_none(view: View) -> None:
    (worker,) = view.services.find("name", "worker")
    status = service_status(view, worker)
    assert (status.running_tasks, status.desired_tasks, status.completed_tasks) == (0, 1, 0)


def test_a_task_of_an_older_spec_is_not_up_to_date(view: View) -> None:
    (web,) = view.services.find("name", "web")
    newer = replace(web, spec=spec(image="app:2"), spec_version=Version(index=2))
    found = view.tasks.get("t1")
    assert found is not None
    assert is_up_to_date(view, found)
    assert not is_up_to_date(with_service(view, newer), found)
    assert not is_up_to_date(view, replace(found, service_id="gone"))


def test_a_task_whose_node_meets_new_constraints_is_up_to_date(view: View) -> None:
    """The updater leaves it alone, so a client that waits for it would wait for ever."""
    (web,) = view.services.find("name", "web")
    template = replace(web.spec.task_template, placement=Placement(constraints=("node.labels.zone==a",)))
    newer = replace(
        web,
        spec=replace(web.spec, task_template=template),
        spec_version=Version(index=web.spec_version.index + 1),
    )
    later = with_service(view, newer)
    assert ids(filters.tasks(later, {"service": ["web"], "_up-to-date": ["true"]})) == {"t1"}


def with_service(view: View, service: Service) -> View:
    return dataclasses.replace(view, services=Table(SERVICES, [service]).freeze())
