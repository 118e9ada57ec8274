"""Endpoint tables: derived from the state, the same when followed commit by commit, the same when streamed."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.dispatcher.endpoints import EndpointTables
from manager.dispatcher.network_streams import MAX_BYTES, NetworkStream, wanted_networks
from manager.rules.endpoint_table import derive
from manager.store.store import Store
from manager.store.watch import Feed
from swarmcore.model.base import Annotations, Driver
from swarmcore.model.cluster import Cluster
from swarmcore.model.endpoint import Endpoint, EndpointMode, EndpointSpec, PortConfig, VirtualIP
from swarmcore.model.network import (
    IPAMConfig,
    IPAMOptions,
    Network,
    NetworkAttachment,
    NetworkAttachmentConfig,
    NetworkSpec,
)
from swarmcore.model.node import Node, NodeDescription, NodeState, NodeStatus
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint
from swarmcore.model.service import Service, ServiceSpec
from swarmcore.model.task import ContainerStatus, Task, TaskSpec, TaskState, TaskStatus
from swarmcore.rpc.messages.networks import Tables, updated
from tests.fakes.raft import solo_store
from tests.manager.dispatcher.bench import encoded

NETWORKS, SERVICES, NODES, TASKS = (
    ("mesh", "newer-mesh", "n1", "n2"),
    ("web", "api"),
    ("w1", "w2", "w3"),
    range(8),
)


def network(name: str, pending_delete: bool = False) -> Network:
    return Network(
        id=name,
        spec=NetworkSpec(name=name, ingress="mesh" in name),
        pending_delete=pending_delete,
        driver_state=Driver(
            name="overlay", options={"com.docker.network.driver.overlay.vxlanid_list": "4097,4098"}
        ),
        ipam_options=IPAMOptions(
            configs=(
                IPAMConfig(subnet="10.1.0.0/24", gateway="10.1.0.1"),
                IPAMConfig(subnet="fd01::/64", gateway="fd01::1"),
            )
        ),
    )


def service(name: str, mode: EndpointMode, networks: tuple[str, ...], port: int) -> Service:
    spec = EndpointSpec(mode=mode, ports=(PortConfig(target_port=80, published_port=port),) if port else ())
    vips = tuple(VirtualIP(network_id=n, addr="10.1.0.9/24") for n in networks if mode is EndpointMode.VIP)
    wishes = tuple(NetworkAttachmentConfig(target=n, aliases=(f"{name}-alias",)) for n in networks)
    return Service(
        id=name,
        spec=ServiceSpec(name=name, endpoint_spec=spec, task_template=TaskSpec(networks=wishes)),
        endpoint=Endpoint(spec=spec, ports=spec.ports, virtual_ips=vips),
    )


def node(name: str, state: NodeState, place: int) -> Node:
    return Node(
        id=name,
        description=NodeDescription(hostname=name),
        status=NodeStatus(state=state, addr=f"192.0.2.{place}"),
        attachments=(NetworkAttachment(network_id="mesh", addresses=(f"10.0.0.{place}/20",)),),
    )


def task(number: int, state: TaskState, desired: TaskState, node_id: str, networks: tuple[str, ...]) -> Task:
    return Task(
        id=f"t{number}",
        service_id=SERVICES[number % 2],
        slot=number + 1,
        node_id=node_id,
        service_annotations=Annotations(name=SERVICES[number % 2]),
        status=TaskStatus(state=state, container_status=ContainerStatus(container_id="c" * 64)),
        desired_state=desired,
        networks_attachments=tuple(
            NetworkAttachment(network_id=n, addresses=(f"10.1.0.{10 + number}/24",)) for n in networks
        ),
    )


STATES = st.sampled_from([TaskState.PENDING, TaskState.ASSIGNED, TaskState.RUNNING, TaskState.FAILED])
SUBSETS = st.lists(st.sampled_from(NETWORKS), unique=True).map(tuple)
OPERATIONS = st.one_of(
    st.tuples(st.just("networks"), st.builds(network, st.sampled_from(NETWORKS), st.booleans())),
    st.tuples(
        st.just("clusters"),
        st.sampled_from([0, 4790]).map(lambda port: Cluster(id="c1", data_path_port=port)),
    ),
    st.tuples(
        st.just("services"),
        st.builds(
            service,
            st.sampled_from(SERVICES),
            st.sampled_from(EndpointMode),
            SUBSETS,
            st.sampled_from([0, 8080]),
        ),
    ),
    st.tuples(
        st.just("nodes"),
        st.builds(
            node,
            st.sampled_from(NODES),
            st.sampled_from([NodeState.READY, NodeState.DOWN]),
            st.integers(1, 3),
        ),
    ),
    st.tuples(
        st.just("tasks"),
        st.builds(
            task,
            st.sampled_from(TASKS),
            STATES,
            st.sampled_from([TaskState.RUNNING, TaskState.SHUTDOWN]),
            st.sampled_from(["", *NODES]),
            SUBSETS,
        ),
    ),
    st.tuples(
        st.just("delete"),
        st.sampled_from(
            [("networks", n) for n in NETWORKS]
            + [("services", n) for n in SERVICES]
            + [("nodes", n) for n in NODES]
            + [("tasks", f"t{n}") for n in TASKS]
        ),
    ),
)


async def commit(store: Store, operations: list[tuple[str, Any]]) -> None:
    async with store.update() as tx:
        for kind, what in operations:
            if kind == "delete":
                table, key = what
                if getattr(tx, table).get(key) is not None:
                    getattr(tx, table).delete(key)
                continue
            rows = getattr(tx, kind)
            known = rows.get(what.id)
            rows.put(replace(what, version=known.version) if known is not None else what)


class Follower:
    """Tables that follow a store's commits, with a session of each node that is sent to when it is concerned."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.tables = EndpointTables()
        self.tables.reset(store.view())
        self.streams = {name: NetworkStream(name) for name in NODES}
        self.waiting = set(NODES)
        self.told: dict[str, Tables] = {name: {} for name in NODES}

    def follow(self, feed: Feed) -> None:
        for commit in feed.drain():
            before = {network_id: self.tables.table(network_id) for network_id in NETWORKS}
            said = self.tables.follow(commit.changes, self.store.view(), commit.index)
            for network_id in NETWORKS:
                if not same(before[network_id], self.tables.table(network_id)):
                    assert network_id in said
            for change in commit.changes:
                for each in (change.old, change.new):
                    if isinstance(each, Task) and each.node_id:
                        self.streams[each.node_id].tasks_changed()
            for name, stream in self.streams.items():
                if stream.concerned(said, self.tables):
                    self.waiting.add(name)

    def send(self, name: str) -> None:
        if name in self.waiting:
            self.waiting.remove(name)
            for update in self.streams[name].updates(self.store.view(), self.tables):
                self.told[name] = updated(self.told[name], update)

    def check(self) -> None:
        for network_id in NETWORKS:
            assert same(self.tables.table(network_id), derive(self.store.view(), network_id))

    def check_streams(self) -> None:
        view = self.store.view()
        for name in NODES:
            self.send(name)
            ids = wanted_networks(view, name, self.tables.ingress) & self.tables.tables.keys()
            assert self.told[name].keys() == ids
            for network_id in ids:
                assert same(self.told[name][network_id], derive(view, network_id))
                needed = self.streams[name].needed([network_id], self.tables)
                assert needed == self.streams[name].sent, "it knows everything"


def same(one: NetworkTable | None, other: NetworkTable | None) -> bool:
    """But for their revisions."""
    if one is None or other is None:
        return one is other
    return replace(one, revision=0) == replace(other, revision=0)


def _mesh(id: str) -> tuple[str, Any]:
    return "networks", network(id, False)


_ON_MESH = ("tasks", task(0, TaskState.ASSIGNED, TaskState.RUNNING, "w1", ("mesh",)))
_GONE = ("delete", ("networks", "mesh")), ("delete", ("networks", "newer-mesh"))


@settings(max_examples=100, deadline=None)
# A network becomes the ingress network that a node carries already, for a task.
@example([([_mesh("newer-mesh"), _ON_MESH], True, {"w1"}), ([_mesh("mesh")], False, set())])
# Followed late: by then, the only network left is the one that became the ingress network.
@example(
    [
        ([_mesh("mesh"), _mesh("n1"), _mesh("newer-mesh")], True, set()),
        ([_GONE[0]], False, set()),
        ([("delete", ("networks", "n1"))], False, set()),
    ]
)
@given(
    commits=st.lists(
        st.tuples(
            st.lists(OPERATIONS, min_size=1, max_size=4), st.booleans(), st.sets(st.sampled_from(NODES))
        ),
        max_size=15,
    ),
)
async def test_followed_and_streamed_tables_are_the_derived_ones(
    commits: list[tuple[list[tuple[str, Any]], bool, set[str]]],
) -> None:
    """Whatever is committed, whether commits are followed one by one or late, whoever is told when."""
    store, _ = solo_store()
    follower = Follower(store)
    with store.view_and_watch() as (_, feed):
        for operations, following, told in commits:
            await commit(store, operations)
            if following:
                follower.follow(feed)
                follower.check()
                for name in sorted(told):
                    follower.send(name)
        follower.follow(feed)
    follower.check()
    follower.check_streams()


async def scene() -> Follower:
    store, _ = solo_store()
    objects = [
        *(("networks", network(name)) for name in NETWORKS),
        *(("nodes", node(name, NodeState.READY, place)) for place, name in enumerate(NODES, 1)),
        ("services", service("web", EndpointMode.VIP, ("n1",), 8080)),
        ("tasks", task(0, TaskState.RUNNING, TaskState.RUNNING, "w1", ("n1", "mesh"))),
        ("tasks", task(2, TaskState.ASSIGNED, TaskState.RUNNING, "w2", ("n1",))),
    ]
    await commit(store, objects)
    return Follower(store)


async def test_a_table_says_all_that_a_host_needs() -> None:
    follower = await scene()
    table = follower.tables.table("n1")
    assert table is not None
    assert [(s.subnet, s.vni) for s in table.network.subnets] == [("10.1.0.0/24", 4097), ("fd01::/64", 4097)]
    endpoint = table.endpoints["t0"]
    assert (endpoint.addresses, endpoint.active, endpoint.node_id) == (("10.1.0.10",), True, "w1")
    assert endpoint.name == "web.1.t0"
    assert endpoint.aliases == ("c" * 12,)
    assert not table.endpoints["t2"].active
    assert table.services["web"].vips == ("10.1.0.9",)
    assert table.services["web"].aliases == ("web-alias",)
    assert {n.vtep for n in table.nodes.values()} == {"192.0.2.1", "192.0.2.2"}
    mesh = follower.tables.table("mesh")
    assert mesh is not None
    assert {(n.id, n.number, n.addresses) for n in mesh.nodes.values()} == {
        ("w1", 1, ("10.0.0.1",)),
        ("w2", 2, ("10.0.0.2",)),
        ("w3", 3, ("10.0.0.3",)),
    }
    assert mesh.services["web"].ports[0].published_port == 8080


async def test_nobody_is_told_of_networks_that_it_has_no_task_on() -> None:
    follower = await scene()
    for name in NODES:
        follower.send(name)
    assert {name: set(tables) for name, tables in follower.told.items()} == {
        "w1": {"mesh", "n1"},
        "w2": {"mesh", "n1"},
        "w3": {"mesh"},
    }


async def test_endpoints_of_a_dead_node_leave_the_table() -> None:
    follower = await scene()
    with follower.store.view_and_watch() as (_, feed):
        await commit(follower.store, [("nodes", node("w1", NodeState.DOWN, 1))])
        follower.follow(feed)
    table = follower.tables.table("n1")
    assert table is not None
    assert table.endpoints.keys() == {"t2"}
    assert table.nodes.keys() == {"w2"}


async def test_a_session_that_knows_everything_is_told_nothing() -> None:
    follower = await scene()
    stream, view = follower.streams["w1"], follower.store.view()
    assert len(stream.updates(view, follower.tables)) == 1
    assert stream.updates(view, follower.tables) == []


async def test_a_large_network_comes_in_parts_that_count_as_one() -> None:
    follower = await scene()
    aliases = tuple(f"{'x' * 60}{number}" for number in range(20))
    tracked = follower.tables.tables["n1"]
    for number in range(5000):
        endpoint = OverlayEndpoint(id=f"e{number}", node_id="w2", name="web", aliases=aliases)
        tracked.put_endpoint(endpoint.id, endpoint)
    parts = follower.streams["w1"].updates(follower.store.view(), follower.tables)
    assert len(parts) > 1
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert [part.full for part in parts] == [True] + [False] * (len(parts) - 1)
    assert all(encoded(part) < 2 * MAX_BYTES for part in parts)
    told: Tables = {}
    for part in parts:
        told = updated(told, part)
    assert same(told["n1"], follower.tables.table("n1"))


async def test_who_is_too_far_behind_gets_the_whole_table() -> None:
    follower = await scene()
    follower.send("w1")
    tracked = follower.tables.tables["n1"]
    for number in range(25_000):
        name = f"e{number % 7}"
        tracked.put_endpoint(name, OverlayEndpoint(id=name, node_id="w2", name=f"web{number}"))
    follower.waiting.add("w1")
    (update,) = follower.streams["w1"].updates(follower.store.view(), follower.tables)
    assert [delta.reset for delta in update.deltas] == [True]
    assert same(updated(follower.told["w1"], update)["n1"], follower.tables.table("n1"))
