"""/networks over a manager's view, a worker's tables and a host's own networks, none of which need a daemon."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from manager.store.tables import BY_NAME, Table, View
from pyswarmd.engine.app import build_app
from pyswarmd.engine.shown.networks import PREDEFINED_IDS
from swarmcore.clock import RealClock
from swarmcore.errors import FailedPrecondition, NotManager
from swarmcore.model.base import Driver, Object
from swarmcore.model.endpoint import Endpoint, PortConfig, VirtualIP
from swarmcore.model.network import (
    ConfigSource,
    IPAMConfig,
    IPAMOptions,
    Network,
    NetworkAttachment,
    NetworkAttachmentConfig,
    NetworkSpec,
)
from swarmcore.model.node import Node, NodeDescription, NodeState, NodeStatus
from swarmcore.model.overlay import (
    NetworkTable,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayNode,
    OverlayService,
    OverlaySubnet,
)
from swarmcore.model.service import Service, ServiceSpec
from swarmcore.model.task import ContainerStatus, Task, TaskSpec, TaskState, TaskStatus
from swarmcore.rpc.messages.control import ControlReply, CreateNetwork, CreateService, RemoveNetwork
from tests.fakes.manager_node import Containers
from worker.networks.local_networks import (
    AddressPool,
    ConnectedContainer,
    EndpointSettings,
    LocalNetwork,
    NetworkRequest,
)

Client = TestClient[web.Request, web.Application]
WHEN = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOST_ID = next(network_id for network_id, name in PREDEFINED_IDS.items() if name == "host")


def network(network_id: str, name: str, subnet: str = "10.0.1.0/24", **spec: Any) -> Network:
    options = IPAMOptions(configs=(IPAMConfig(subnet=subnet, gateway=subnet.replace(".0/", ".1/")[:-3]),))
    return Network(
        id=network_id,
        created_at=WHEN,
        spec=NetworkSpec(name=name, **spec),
        driver_state=Driver(
            name="overlay", options={"com.docker.network.driver.overlay.vxlanid_list": "4097"}
        ),
        ipam_options=options,
    )


def task(number: int, node_id: str, address: str, state: TaskState = TaskState.RUNNING) -> Task:
    return Task(
        id=f"task{number}",
        name=f"web.{number}.task{number}",
        service_id="web1",
        slot=number,
        node_id=node_id,
        desired_state=TaskState.RUNNING,
        status=TaskStatus(state=state, container_status=ContainerStatus(container_id=f"container{number}")),
        networks_attachments=(NetworkAttachment(network_id="shop1", addresses=(address,)),),
    )


def machine(node_id: str, data_path: str = "") -> Node:
    return Node(
        id=node_id,
        description=NodeDescription(hostname=f"host-{node_id}", data_path_addr=data_path),
        status=NodeStatus(state=NodeState.READY, addr="172.30.0.9"),
    )


SHOP = network("shop1", "shop", labels={"tier": "front"})
WEB = Service(
    id="web1",
    spec=ServiceSpec(name="web", task_template=TaskSpec(networks=(NetworkAttachmentConfig(target="shop1"),))),
    endpoint=Endpoint(
        ports=(PortConfig(target_port=80, published_port=8080),),
        virtual_ips=(VirtualIP(network_id="shop1", addr="10.0.1.2/24"),),
    ),
)
OBJECTS: tuple[Object, ...] = (
    SHOP,
    network("ingress1", "ingress", "10.0.0.0/20", ingress=True),
    network("idle1", "idle", "10.0.2.0/30"),
    WEB,
    task(1, "m1", "10.0.1.3/24"),
    task(2, "w1", "10.0.1.4/24"),
    task(3, "w2", "10.0.1.5/24", TaskState.FAILED),
    machine("m1"),
    machine("w1", "172.31.0.2"),
    machine("w2"),
)


def view(objects: Sequence[Object] = OBJECTS) -> View:
    tables: dict[str, Any] = {
        name: Table(schema, [o for o in objects if isinstance(o, schema.type)])
        for name, schema in BY_NAME.items()
    }
    return View(index=7, **tables)


class Local:
    """User-defined networks of a host, kept in a list."""

    def __init__(self) -> None:
        self.networks: list[LocalNetwork] = []

    def list(self) -> Sequence[LocalNetwork]:
        return self.networks

    async def create(self, wanted: NetworkRequest) -> LocalNetwork:
        made = LocalNetwork(
            id=f"local-{wanted.name}",
            created_at=WHEN,
            wanted=wanted,
            pools=(AddressPool(subnet="172.20.0.0/16", gateway="172.20.0.1"),),
        )
        self.networks.append(made)
        return made

    async def remove(self, network_id: str) -> None:
        self.networks = [item for item in self.networks if item.id != network_id]


class Daemon:
    """A manager with a view, without networking of its own; subclasses have more."""

    clock = RealClock()
    node_id, control_available = "m1", True
    networks: Any = None
    connector: Any = None
    containers, images = Containers(), None

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.in_use: set[str] = set()

    def status(self) -> Any:
        return SimpleNamespace(node_id=self.node_id, control_available=self.control_available, state="active")

    async def read(self) -> View:
        return view()

    def manager(self) -> Any:
        if not self.control_available:
            raise NotManager("This node is not a swarm manager.")
        return SimpleNamespace(read=self.read, control=self, store=SimpleNamespace(view=view))

    async def carry_out(self, request: Any) -> ControlReply:
        if isinstance(request, RemoveNetwork) and request.id in self.in_use:
            raise FailedPrecondition(f"network {request.id} is in use by service web1")
        self.asked.append(request)
        return ControlReply(id="new1", warnings=("mind the gap",))


class WithLocal(Daemon):
    def __init__(self) -> None:
        super().__init__()
        self.local_networks: Local = Local()
        self.networks = SimpleNamespace(local=self.local_networks, swarm=SimpleNamespace(tables={}))
        self.connector = self
        self.calls: list[tuple[Any, ...]] = []

    async def connect(self, network: str, container: str, config: EndpointSettings) -> None:
        self.calls.append(("connect", network, container, config))

    async def disconnect(self, network: str, container: str, *, force: bool) -> None:
        self.calls.append(("disconnect", network, container, force))


class Worker(Daemon):
    node_id, control_available = "w1", False

    def __init__(self) -> None:
        super().__init__()
        table = NetworkTable(
            network=OverlayNetwork(
                id="shop1",
                name="shop",
                subnets=(
                    OverlaySubnet(subnet="10.0.1.0/24", gateway="10.0.1.1", vni=4097),
                    OverlaySubnet(subnet="fd00:1::/64", gateway="fd00:1::1", vni=4097),
                ),
            ),
            nodes={"w1": OverlayNode(id="w1", vtep="172.31.0.2"), "m1": OverlayNode(id="m1", vtep="1.1.1.1")},
            services={"web1": OverlayService(id="web1", name="web", vips=("10.0.1.2",))},
            endpoints={
                "task2": OverlayEndpoint(
                    id="task2",
                    node_id="w1",
                    name="web.2.task2",
                    service_id="web1",
                    addresses=("10.0.1.4", "fd00:1::4"),
                    active=True,
                ),
                "task1": OverlayEndpoint(id="task1", node_id="m1", name="web.1.task1", service_id="web1"),
            },
        )
        self.networks = SimpleNamespace(local=Local(), swarm=SimpleNamespace(tables={"shop1": table}))


async def client_of(daemon: Daemon) -> Client:
    client = TestClient(TestServer(build_app(daemon)))  # type: ignore[arg-type]
    await client.start_server()
    return client


@pytest.fixture
async def daemon() -> WithLocal:
    return WithLocal()


@pytest.fixture
async def client(daemon: WithLocal) -> AsyncIterator[Client]:
    client = await client_of(daemon)
    yield client
    await client.close()


async def names(client: Client, **wanted: Any) -> set[str]:
    response = await client.get("/networks", params={"filters": json.dumps(wanted)})
    assert response.status == 200, await response.text()
    return {item["Name"] for item in await response.json()}


async def refused(response: Any, status: int) -> str:
    assert response.status == status, await response.text()
    return str((await response.json())["message"])


# -- lists -----------------------------------------------------------------------------------------
async def test_one_list_has_the_swarm_s_networks_and_the_host_s(client: Client, daemon: WithLocal) -> None:
    await daemon.local_networks.create(NetworkRequest(name="lan"))
    assert await names(client) == {"bridge", "host", "none", "lan", "shop", "ingress", "idle"}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"scope": ["swarm"]}, {"shop", "ingress", "idle"}),
        ({"scope": {"local": True}}, {"bridge", "host", "none"}),
        ({"driver": {"overlay": True}, "name": {"sho": True}}, {"shop"}),
        ({"driver": ["null", "host"]}, {"none", "host"}),
        ({"id": ["sho", "idle1"]}, {"shop", "idle"}),
        ({"label": ["tier=front"]}, {"shop"}),
        ({"label": ["tier=back"]}, set()),
        ({"type": ["builtin"]}, {"bridge", "host", "none"}),
        ({"type": ["custom"], "name": ["i"]}, {"ingress", "idle"}),
        ({"dangling": ["true"]}, {"idle"}),
        ({"dangling": ["false"], "scope": ["swarm"]}, {"shop", "ingress"}),
    ],
    ids=str,
)
async def test_filters_in_both_encodings(client: Client, wanted: Any, found: set[str]) -> None:
    assert await names(client, **wanted) == found


@pytest.mark.parametrize("wanted", ['{"colour":["red"]}', '{"type":["odd"]}'])
async def test_an_unknown_filter_or_value_is_refused(client: Client, wanted: str) -> None:
    assert "invalid filter" in await refused(await client.get("/networks", params={"filters": wanted}), 400)


# -- one -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["shop1", "shop", "sho"])
async def test_a_network_is_found_by_id_name_or_beginning(client: Client, text: str) -> None:
    shown = await (await client.get(f"/networks/{text}")).json()
    assert (shown["Id"], shown["Name"], shown["Scope"], shown["Driver"]) == (
        "shop1",
        "shop",
        "swarm",
        "overlay",
    )
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1"}]
    assert shown["Options"] == {"com.docker.network.driver.overlay.vxlanid_list": "4097"}
    assert shown["Created"] == "2026-01-31T12:00:00Z"
    assert "Services" not in shown


async def test_inspect_tells_hosts_containers_and_the_use_of_each_subnet(client: Client) -> None:
    shown = await (await client.get("/networks/shop")).json()
    assert shown["Peers"] == [
        {"Name": "host-m1", "IP": "172.30.0.9"},
        {"Name": "host-w1", "IP": "172.31.0.2"},
    ]
    ((container_id, container),) = shown["Containers"].items()
    assert (container_id, container["Name"], container["IPv4Address"]) == (
        "container1",
        "web.1.task1",
        "10.0.1.3/24",
    )
    assert len(container["EndpointID"]) == 64
    # Two of the subnet itself, the gateway, the virtual address and two tasks that have not ended.
    assert shown["Status"] == {
        "IPAM": {"Subnets": {"10.0.1.0/24": {"IPsInUse": 6, "DynamicIPsAvailable": 250}}}
    }


async def test_every_ready_node_is_a_peer_of_the_ingress_network(client: Client) -> None:
    peers = (await (await client.get("/networks/ingress")).json())["Peers"]
    assert [peer["Name"] for peer in peers] == ["host-m1", "host-w1", "host-w2"]


async def test_a_full_subnet_is_said() -> None:
    class Full(Daemon):
        async def read(self) -> View:
            attachment = NetworkAttachment(network_id="tiny1", addresses=("10.0.9.2/30",))
            holder = Task(id="t1", networks_attachments=(attachment,))
            return view([network("tiny1", "tiny", "10.0.9.0/30"), holder])

    client = await client_of(Full())
    status = (await (await client.get("/networks/tiny")).json())["Status"]
    assert status["IPAM"]["Subnets"]["10.0.9.0/30"]["DynamicIPsAvailable"] == 0
    assert status["Warnings"] == ["subnet 10.0.9.0/30 of network tiny is full"]
    await client.close()


async def test_verbose_names_who_answers(client: Client) -> None:
    services = (await (await client.get("/networks/shop?verbose=true")).json())["Services"]
    assert set(services) == {"web"}
    assert services["web"]["VIP"] == "10.0.1.2"
    assert services["web"]["Ports"] == ["Target: 80, Publish: 8080"]
    assert [(t["Name"], t["EndpointIP"], t["Info"]) for t in services["web"]["Tasks"]] == [
        ("web.1.task1", "10.0.1.3", {"Host IP": "172.30.0.9"}),
        ("web.2.task2", "10.0.1.4", {"Host IP": "172.31.0.2"}),
    ]


async def test_the_predefined_networks_have_the_same_ids_everywhere(client: Client) -> None:
    shown = await (await client.get("/networks/host")).json()
    assert (shown["Id"], shown["Scope"], shown["Driver"]) == (HOST_ID, "local", "host")


async def test_in_the_swarm_s_scope_a_predefined_network_is_known_by_its_name(client: Client) -> None:
    shown = await (await client.get("/networks/host?scope=swarm")).json()
    assert (shown["Id"], shown["Scope"]) == ("host", "swarm")
    assert "not found" in await refused(await client.get("/networks/shop?scope=local"), 404)


async def test_a_service_with_a_predefined_id_gets_the_name(client: Client, daemon: WithLocal) -> None:
    body = {"Name": "x", "TaskTemplate": {"Networks": [{"Target": HOST_ID}, {"Target": "shop1"}]}}
    assert (await client.post("/services/create", json=body)).status == 201
    (request,) = daemon.asked
    assert isinstance(request, CreateService)
    assert [n.target for n in request.spec.task_template.networks] == ["host", "shop1"]


async def test_an_unknown_network_is_404(client: Client) -> None:
    assert await refused(await client.get("/networks/nope"), 404) == "network nope not found"


async def test_an_ambiguous_name_is_refused(client: Client, daemon: WithLocal) -> None:
    await daemon.local_networks.create(NetworkRequest(name="shop"))
    assert "is ambiguous (2 matches found based on name)" in await refused(
        await client.get("/networks/shop"), 400
    )


# -- a worker --------------------------------------------------------------------------------------
async def test_a_worker_shows_the_networks_that_it_carries() -> None:
    client = await client_of(Worker())
    assert await names(client, type=["custom"]) == {"shop"}
    shown = await (await client.get("/networks/shop?verbose=1")).json()
    assert shown["EnableIPv6"]
    assert shown["Peers"] == [{"Name": "m1", "IP": "1.1.1.1"}, {"Name": "w1", "IP": "172.31.0.2"}]
    assert [(c["IPv4Address"], c["IPv6Address"]) for c in shown["Containers"].values()] == [
        ("10.0.1.4/24", "fd00:1::4/64")
    ]
    assert [t["EndpointIP"] for t in shown["Services"]["web"]["Tasks"]] == ["10.0.1.4"]
    response = await client.post("/networks/create", json={"Name": "x", "Driver": "overlay"})
    assert "not a swarm manager" in await refused(response, 503)
    await client.close()


# -- create ----------------------------------------------------------------------------------------
async def test_an_overlay_is_asked_of_the_swarm(client: Client, daemon: WithLocal) -> None:
    body = {
        "Name": "shop2",
        "CheckDuplicate": True,
        "Driver": "overlay",
        "EnableIPv6": True,
        "Internal": True,
        "Attachable": True,
        "ConfigFrom": {"Network": ""},
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": [
                {
                    "Subnet": "10.9.0.0/24",
                    "IPRange": "10.9.0.128/25",
                    "Gateway": "10.9.0.1",
                    "AuxiliaryAddresses": {"router": "10.9.0.5"},
                }
            ],
        },
        "Options": {"com.docker.network.driver.mtu": "1400"},
        "Labels": {"a": "b"},
    }
    response = await client.post("/networks/create", json=body)
    assert (response.status, await response.json()) == (201, {"Id": "new1", "Warning": "mind the gap"})
    (request,) = daemon.asked
    assert request == CreateNetwork(
        spec=NetworkSpec(
            name="shop2",
            labels={"a": "b"},
            driver_configuration=Driver(name="overlay", options={"com.docker.network.driver.mtu": "1400"}),
            ipv6_enabled=True,
            internal=True,
            attachable=True,
            scope="swarm",
            ipam_options=IPAMOptions(
                configs=(
                    IPAMConfig(
                        subnet="10.9.0.0/24",
                        range="10.9.0.128/25",
                        gateway="10.9.0.1",
                        auxiliary_addresses={"router": "10.9.0.5"},
                    ),
                )
            ),
        )
    )


async def test_a_driver_of_the_host_may_be_the_swarm_s_from_a_configuration(
    client: Client, daemon: WithLocal
) -> None:
    body = {"Name": "lan", "Driver": "macvlan", "Scope": "swarm", "ConfigFrom": {"Network": "lan-conf"}}
    assert (await client.post("/networks/create", json=body)).status == 201
    (request,) = daemon.asked
    assert request.spec.driver_configuration == Driver(name="macvlan")
    assert request.spec.config_from == ConfigSource(network="lan-conf")


async def test_any_other_network_is_made_on_this_host(client: Client, daemon: WithLocal) -> None:
    response = await client.post("/networks/create", json={"Name": "lan"})
    assert await response.json() == {"Id": "local-lan", "Warning": ""}
    assert daemon.asked == []
    shown = await (await client.get("/networks/lan")).json()
    assert (shown["Driver"], shown["Scope"]) == ("bridge", "local")
    assert shown["IPAM"]["Config"] == [{"Subnet": "172.20.0.0/16", "Gateway": "172.20.0.1"}]
    assert "already exists" in await refused(await client.post("/networks/create", json={"Name": "lan"}), 409)
    assert "already exists" in await refused(
        await client.post("/networks/create", json={"Name": "shop"}), 409
    )


async def test_a_host_without_networks_of_its_own_says_so() -> None:
    client = await client_of(Daemon())
    message = await refused(await client.post("/networks/create", json={"Name": "lan"}), 501)
    assert "driver bridge" in message
    await client.close()


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "invalid name"),
        ({"Name": "x", "Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
        ({"Name": "bridge"}, 403, "bridge is a pre-defined network and cannot be created"),
        ({"Name": "x", "Driver": "overlay", "Scope": "local"}, 400, "belong to the swarm"),
        ({"Name": "x", "Scope": "galaxy"}, 400, "invalid network scope"),
        ({"Name": "x", "Driver": "bridge", "Ingress": True}, 400, "only the driver overlay"),
        ({"Name": "x", "ConfigOnly": True, "Scope": "swarm"}, 400, "belongs to one host"),
        ({"Name": "x", "ConfigOnly": True, "ConfigFrom": {"Network": "y"}}, 400, "not both"),
        ({"Name": "x", "Driver": "overlay", "EnableIPv4": False}, 400, "without IPv4"),
        ({"Name": 5}, 400, "Name"),
        ([], 400, "NetworkRequest"),
    ],
    ids=lambda v: json.dumps(v) if isinstance(v, dict) else "",
)
async def test_what_cannot_be_made_is_refused(client: Client, body: Any, status: int, message: str) -> None:
    assert message in await refused(await client.post("/networks/create", json=body), status)


# -- remove and prune ------------------------------------------------------------------------------
async def test_networks_are_removed_where_they_are_kept(client: Client, daemon: WithLocal) -> None:
    await daemon.local_networks.create(NetworkRequest(name="lan"))
    assert (await client.delete("/networks/lan")).status == 204
    assert daemon.local_networks.networks == []
    assert (await client.delete("/networks/idle")).status == 204
    assert daemon.asked == [RemoveNetwork(id="idle1")]


async def test_a_predefined_network_stays(client: Client) -> None:
    message = await refused(await client.delete("/networks/bridge"), 403)
    assert message == "bridge is a pre-defined network and cannot be removed"


async def test_a_network_in_use_stays(client: Client, daemon: WithLocal) -> None:
    daemon.in_use = {"shop1"}
    assert "is in use by service" in await refused(await client.delete("/networks/shop"), 400)


async def test_prune_takes_what_nobody_uses(client: Client, daemon: WithLocal) -> None:
    await daemon.local_networks.create(NetworkRequest(name="lan"))
    await daemon.local_networks.create(NetworkRequest(name="conf", config_only=True))
    used = await daemon.local_networks.create(NetworkRequest(name="busy"))
    daemon.local_networks.networks[-1] = LocalNetwork(
        id=used.id, created_at=WHEN, wanted=used.wanted, containers={"c": ConnectedContainer(name="c")}
    )
    response = await client.post("/networks/prune")
    assert (await response.json())["NetworksDeleted"] == ["lan", "idle"]
    assert [item.wanted.name for item in daemon.local_networks.networks] == ["conf", "busy"]


@pytest.mark.parametrize(
    ("wanted", "deleted"),
    [
        ({"label": ["tier"]}, None),
        ({"label!": ["tier"]}, ["idle"]),
        ({"until": ["2026-01-30T00:00:00Z"]}, None),
        ({"until": ["2026-02-01"]}, ["idle"]),
        ({"until": ["1h"]}, ["idle"]),
        ({"until": ["0"]}, None),
    ],
    ids=str,
)
async def test_prune_has_filters(client: Client, wanted: Any, deleted: Any) -> None:
    response = await client.post("/networks/prune", params={"filters": json.dumps(wanted)})
    assert (await response.json())["NetworksDeleted"] == deleted


@pytest.mark.parametrize("values", [["soon"], ["1h", "2h"]])
async def test_prune_refuses_a_moment_that_is_none(client: Client, values: list[str]) -> None:
    filters = json.dumps({"until": values})
    await refused(await client.post("/networks/prune", params={"filters": filters}), 400)


async def test_prune_skips_what_came_into_use(client: Client, daemon: WithLocal) -> None:
    daemon.in_use = {"idle1"}
    assert (await (await client.post("/networks/prune")).json())["NetworksDeleted"] is None


# -- containers ------------------------------------------------------------------------------------
async def test_containers_are_connected_and_disconnected(client: Client, daemon: WithLocal) -> None:
    body: dict[str, Any] = {
        "Container": "c1",
        "EndpointConfig": {"Aliases": ["db"], "IPAMConfig": {"IPv4Address": "10.0.1.9"}},
    }
    assert (await client.post("/networks/shop/connect", json=body)).status == 200
    body = {"Container": "c1", "Force": True}
    assert (await client.post("/networks/shop/disconnect", json=body)).status == 200
    (connect, disconnect) = daemon.calls
    assert connect[:3] == ("connect", "shop1", "c1")
    assert connect[3].aliases == ("db",)
    assert connect[3].ipam_config.ipv4_address == "10.0.1.9"
    assert disconnect == ("disconnect", "shop1", "c1", True)


@pytest.mark.parametrize(
    "config",
    [
        {"Links": ["db:db"]},
        {"DriverOpts": {"a": "b"}},
        {"GwPriority": 1},
        {"MacAddress": "02:42:0a:00:00:09"},
        {"IPAMConfig": {"LinkLocalIPs": ["169.254.0.9"]}},
    ],
    ids=lambda config: next(iter(config)),
)
async def test_what_an_endpoint_cannot_have_yet_is_refused(
    client: Client, daemon: WithLocal, config: dict[str, Any]
) -> None:
    body = {"Container": "c1", "EndpointConfig": config}
    response = await client.post("/networks/shop/connect", json=body)
    assert "not supported yet for a container on a network" in await refused(response, 400)
    assert not daemon.calls


async def test_an_endpoint_as_inspect_showed_it_is_taken_again(client: Client, daemon: WithLocal) -> None:
    shown = {"EndpointID": "e1", "MacAddress": "02:42:0a:00:00:09", "IPAddress": "10.0.1.9", "Links": None}
    body = {"Container": "c1", "EndpointConfig": shown}
    assert (await client.post("/networks/shop/connect", json=body)).status == 200
    assert daemon.calls


async def test_a_host_that_cannot_connect_containers_says_so() -> None:
    client = await client_of(Daemon())
    for what in ("connect", "disconnect"):
        response = await client.post(f"/networks/shop/{what}", json={"Container": "c1"})
        assert "not supported yet" in await refused(response, 501)
        assert "no container" in await refused(await client.post(f"/networks/shop/{what}", json={}), 400)
    await client.close()


class ConnectingWorker(WithLocal):
    node_id, control_available = "w1", False


async def test_a_worker_leaves_names_that_it_does_not_know_to_the_leader() -> None:
    daemon = ConnectingWorker()
    client = await client_of(daemon)
    response = await client.post("/networks/elsewhere/connect", json={"Container": "c1"})
    assert response.status == 200
    assert daemon.calls[0][:3] == ("connect", "elsewhere", "c1")
    await client.close()
    manager = await client_of(WithLocal())
    response = await manager.post("/networks/elsewhere/connect", json={"Container": "c1"})
    assert "network elsewhere not found" in await refused(response, 404)
    await manager.close()
