"""Containers outside of services: which networks they may join, under which names, and how they leave."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from manager.control import filters
from pyswarmd.engine.shown import objects
from swarmcore.errors import Conflict, FailedPrecondition, Forbidden, Invalid, NotFound
from swarmcore.model.network import IPAMConfig, IPAMOptions, NetworkAttachment
from swarmcore.model.task import ContainerStatus, RuntimeType, Task, TaskState, TaskStatus
from swarmcore.rpc.messages.control import AttachContainer, DetachContainer, RemoveNetwork
from tests.manager.control.bench import Bench

S = TaskState


@pytest.fixture
async def bench() -> Bench:
    bench = await Bench().begin()
    await bench.node("n1")
    await bench.node("n2")
    await bench.network("shop", Attachable=True)
    return bench


def wanted(id: str = "t1", **fields: Any) -> AttachContainer:
    given = {"network": "shop", "node_id": "n1", "container_id": "c1", "name": "db", **fields}
    return AttachContainer(id=id, **given)


def task(bench: Bench, id: str = "t1") -> Task:
    found = bench.store.view().tasks.get(id)
    assert found is not None
    return found


async def put(bench: Bench, changed: Task) -> None:
    async with bench.store.update() as tx:
        tx.tasks.put(changed)


async def test_attaching_makes_a_task_without_a_service_on_the_containers_node(bench: Bench) -> None:
    reply = await bench.control.carry_out(wanted(aliases=("sql", "sql", "store.db"), addresses=("10.1.0.9",)))
    made = task(bench, reply.id)
    assert (made.name, made.service_id, made.node_id) == ("db", "", "n1")
    assert (made.status.state, made.desired_state) == (S.NEW, S.RUNNING)
    assert made.spec.runtime is RuntimeType.ATTACHMENT
    assert made.spec.network_attachment_spec is not None
    assert made.spec.network_attachment_spec.container_id == "c1"
    (wish,) = made.spec.networks
    assert (wish.target, wish.aliases, wish.addresses) == ("net-shop", ("sql", "store.db"), ("10.1.0.9",))


async def test_asking_twice_with_one_id_attaches_once(bench: Bench) -> None:
    first = await bench.control.carry_out(wanted())
    assert await bench.control.carry_out(wanted()) == first
    assert len(bench.store.view().tasks) == 1
    with pytest.raises(Conflict):
        await bench.control.carry_out(wanted(container_id="c2"))
    with pytest.raises(Conflict):
        await bench.control.carry_out(wanted(node_id="n2"))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Attachable": True, "Ingress": True},
        {"Attachable": True, "DriverConfiguration": {"Name": "macvlan"}},
    ],
    ids=["not attachable", "ingress", "not an overlay"],
)
async def test_only_attachable_overlays_are_joined(bench: Bench, fields: dict[str, Any]) -> None:
    if fields.get("DriverConfiguration"):
        fields = {**fields, "ConfigFrom": {"Network": "conf"}, "Scope": "swarm"}
    if fields.get("Ingress"):  # no request makes such a network; stores of other versions may hold one
        made = await bench.network("other", Ingress=True)
        async with bench.store.update() as tx:
            tx.networks.put(replace(made, spec=replace(made.spec, attachable=True)))
    else:
        await bench.network("other", **fields)
    with pytest.raises(
        Forbidden, match=r"^Could not attach to network other: network other not manually attachable$"
    ):
        await bench.control.carry_out(wanted(network="other"))
    assert len(bench.store.view().tasks) == 0


async def test_what_does_not_exist_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound, match="network gone not found"):
        await bench.control.carry_out(wanted(network="gone"))
    with pytest.raises(NotFound, match="node n9 not found"):
        await bench.control.carry_out(wanted(node_id="n9"))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a..b"},
        {"name": "a b"},
        {"name": "x" * 254},
        {"container_id": ""},
        {"container_id": "../up"},
        {"container_id": "c" * 129},
        {"aliases": ("-a",)},
        {"aliases": tuple(f"a{n}" for n in range(65))},
        {"addresses": ("10.1.0",)},
        {"addresses": ("10.1.0.5/24",)},
        {"addresses": ("10.1.0.5", "10.1.0.6")},
        {"addresses": ("fd00::5", "fd00::6")},
    ],
    ids=str,
)
async def test_what_no_resolver_or_kernel_could_take_is_refused(bench: Bench, fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        await bench.control.carry_out(wanted(**fields))
    assert len(bench.store.view().tasks) == 0


async def test_an_address_outside_the_networks_subnets_is_refused_at_once(bench: Bench) -> None:
    network = bench.store.view().networks.get("net-shop")
    assert network is not None
    options = IPAMOptions(configs=(IPAMConfig(subnet="10.1.0.0/24"), IPAMConfig(subnet="fd01::/64")))
    async with bench.store.update() as tx:
        tx.networks.put(replace(network, ipam_options=options))
    for address in ("10.2.0.5", "10.1.0.255", "fd02::5"):
        with pytest.raises(Invalid, match="does not belong to any of the subnets"):
            await bench.control.carry_out(wanted(addresses=(address,)))
    await bench.control.carry_out(wanted(addresses=("FD01:0::0005", "10.1.0.5")))
    assert task(bench).spec.networks[0].addresses == ("10.1.0.5", "fd01::5")


async def test_a_container_is_on_a_network_once(bench: Bench) -> None:
    await bench.control.carry_out(wanted())
    with pytest.raises(Forbidden, match="endpoint with name db already exists in network shop"):
        await bench.control.carry_out(wanted("t2"))
    await bench.control.carry_out(
        wanted("t3", node_id="n2")
    )  # another node's container of that id is another one
    await bench.network("back", Attachable=True)
    await bench.control.carry_out(wanted("t4", network="back"))


async def test_a_container_of_a_service_on_the_network_is_there_already(bench: Bench) -> None:
    own = Task(
        id="own",
        service_id="web",
        node_id="n1",
        desired_state=S.RUNNING,
        status=TaskStatus(state=S.RUNNING, container_status=ContainerStatus(container_id="c1")),
        networks_attachments=(NetworkAttachment(network_id="net-shop"),),
    )
    await put(bench, own)
    with pytest.raises(Forbidden, match="already exists"):
        await bench.control.carry_out(wanted())
    await bench.control.carry_out(wanted(container_id="c2"))


@pytest.mark.parametrize(
    "named",
    [
        {"id": "t1"},
        {"id": "t1", "node_id": "n1"},
        {"network": "shop", "node_id": "n1", "container_id": "c1"},
        {"network": "net-shop", "node_id": "n1", "container_id": "c1"},
    ],
    ids=str,
)
async def test_a_detached_task_shall_be_removed(bench: Bench, named: dict[str, str]) -> None:
    await bench.control.carry_out(wanted())
    for _ in range(2):  # asking again is harmless
        assert (await bench.control.carry_out(DetachContainer(**named))).id == "t1"
        assert task(bench).desired_state is S.REMOVE
    await bench.control.carry_out(wanted("t2"))  # it may come back before the first has ended


@pytest.mark.parametrize(
    "named",
    [
        {"id": "t1", "node_id": "n2"},
        {"id": "own"},
        {"id": "t9"},
        {"network": "shop", "node_id": "n2", "container_id": "c1"},
        {"network": "shop", "node_id": "n1", "container_id": "c2"},
        {"network": "shop", "node_id": "n1"},
        {"network": "back", "node_id": "n1", "container_id": "c1"},
    ],
    ids=str,
)
async def test_nobody_detaches_what_is_not_his(bench: Bench, named: dict[str, str]) -> None:
    await bench.network("back", Attachable=True)
    await bench.control.carry_out(wanted())
    await put(bench, Task(id="own", service_id="web", node_id="n1", desired_state=S.RUNNING))
    with pytest.raises(NotFound):
        await bench.control.carry_out(DetachContainer(**named))
    assert all(found.desired_state is S.RUNNING for found in bench.store.view().tasks)


async def test_a_network_stays_while_a_container_is_on_it(bench: Bench) -> None:
    await bench.control.carry_out(wanted())
    with pytest.raises(FailedPrecondition, match="in use by task t1"):
        await bench.control.carry_out(RemoveNetwork(id="shop"))
    await bench.control.carry_out(DetachContainer(id="t1"))
    await bench.control.carry_out(RemoveNetwork(id="shop"))
    pending = bench.store.view().networks.get("net-shop")
    assert pending is not None
    assert pending.pending_delete  # until the task has ended


async def test_lists_show_attachments_only_to_who_asks_for_them(bench: Bench) -> None:
    await bench.control.carry_out(wanted())
    await put(bench, Task(id="own", service_id="web", node_id="n1", desired_state=S.RUNNING))
    view = bench.store.view()

    def ids(**asked: list[str]) -> set[str]:
        return {found.id for found in filters.tasks(view, asked)}

    assert ids() == {"own"}
    assert ids(node=["n1"]) == {"own"}
    assert ids(runtime=["attachment"]) == {"t1"}
    assert ids(runtime=["attachment"], node=["n1"]) == {"t1"}
    assert ids(runtime=["attachment", "container"]) == {"own", "t1"}


async def test_an_attachment_is_shown_as_docker_shows_it(bench: Bench) -> None:
    await bench.control.carry_out(wanted(addresses=("10.1.0.5",)))
    shown = objects.task(task(bench), bench.store.view().networks)
    assert shown["Name"] == "db"
    assert shown["Spec"] == {
        "NetworkAttachmentSpec": {"ContainerID": "c1"},
        "Networks": ({"Target": "net-shop"},),
        "ForceUpdate": 0,
        "Runtime": "attachment",
    }
