"""Networks: created once, refused with one clear line, removed when nobody wants them any more."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from swarmcore.errors import Conflict, FailedPrecondition, Forbidden, Invalid, NotFound, SwarmError
from swarmcore.model.base import Driver
from swarmcore.model.codec import convert_spec
from swarmcore.model.network import (
    MTU,
    VXLAN_IDS,
    IPAMConfig,
    IPAMOptions,
    Network,
    NetworkAttachment,
    NetworkAttachmentConfig,
    NetworkSpec,
)
from swarmcore.model.node import NodeDescription, NodeState
from swarmcore.model.task import Task, TaskSpec, TaskState, TaskStatus
from swarmcore.rpc.messages.control import CreateNetwork, RemoveNetwork, RemoveService
from tests.manager.control.bench import Bench, spec


@pytest.fixture
async def bench() -> Bench:
    return await Bench().begin()


def subnets(*texts: str, **more: Any) -> dict[str, Any]:
    return {"IPAMOptions": {"Configs": [{"Subnet": text, **more} for text in texts]}}


def options(driver: str = "overlay", **given: str) -> dict[str, Any]:
    return {"DriverConfiguration": {"Name": driver, "Options": given}}


FROM = {"ConfigFrom": {"Network": "conf"}, "Scope": "swarm"}


# -- creating --------------------------------------------------------------------------------------


async def test_the_default_driver_is_overlay(bench: Bench) -> None:
    network = await bench.network("shop", Labels={"a": "b"})
    assert (network.spec.driver, network.spec.labels) == ("overlay", {"a": "b"})
    assert network.spec.driver_configuration == Driver(name="overlay")
    assert (network.ipam_options, network.driver_state) == (None, None)  # the allocator's


async def test_asking_twice_with_one_id_creates_once(bench: Bench) -> None:
    assert await bench.network("shop") == await bench.network("shop")


async def test_a_taken_name_is_a_conflict(bench: Bench) -> None:
    await bench.network("shop")
    with pytest.raises(Conflict, match=r"^network with name shop already exists$"):
        await bench.control.carry_out(CreateNetwork(id="other", spec=NetworkSpec(name="shop")))


@pytest.mark.parametrize(
    "fields",
    [
        {"Attachable": True, "Internal": True},
        {"IPv6Enabled": True},
        {"Ingress": True},
        {"IPv6Enabled": True} | subnets("10.9.0.0/24", "fd00:1::/64"),
        {"IPv6Enabled": True} | subnets("fd00:1::/64", "fd00:2::/64"),
        subnets(
            "10.9.0.0/24", Gateway="10.9.0.1", Range="10.9.0.128/25", AuxiliaryAddresses={"r": "10.9.0.9"}
        ),
        subnets("10.9.0.0/24", "10.9.1.0/30"),
        options(encrypted=""),
        options(encrypted="false"),
        options(**{"pyswarm.antispoof": "off"}),
        {"Labels": {"pyswarm.antispoof": "on"}},
        options(**{MTU: "1400"}),
        options(**{MTU: "65535", VXLAN_IDS: "5000"}),
        options(**{VXLAN_IDS: "5000,5001"}) | subnets("10.9.0.0/24", "10.9.1.0/24"),
        options("bridge") | {"Scope": "swarm"},
        options("macvlan") | FROM,
        options("ipvlan") | FROM,
    ],
)
async def test_what_makes_sense_is_taken(bench: Bench, fields: dict[str, Any]) -> None:
    wanted = convert_spec({"Name": "shop", **fields}, NetworkSpec)
    reply = await bench.control.carry_out(CreateNetwork(id="x", spec=wanted))
    assert reply.warnings == ()
    assert (await bench.network("plain")).id == "net-plain"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (options("magic"), "network driver 'magic' not found"),
        (subnets("nonsense"), "nonsense"),
        (subnets("10.9.0.7/24"), "10.9.0"),
        (subnets("10.9.0.0/31"), "too small"),
        (subnets("127.0.0.0/16"), "127.0.0.0/16"),
        (subnets("224.0.0.0/8"), "224.0.0.0/8"),
        (subnets("fd00::/64"), "IPv6"),
        (subnets("10.9.0.0/24", Gateway="10.8.0.1"), "gateway 10.8.0.1"),
        (subnets("10.9.0.0/24", Gateway="10.9.0.255"), "gateway 10.9.0.255"),
        (subnets("10.9.0.0/24", Gateway="x"), "gateway x"),
        (subnets("10.9.0.0/24", Range="10.8.0.0/25"), "ip-range 10.8.0.0/25"),
        (subnets("10.9.0.0/24", Range="10.9.0.0/16"), "10.9.0.0/16"),
        (subnets("10.9.0.0/24", AuxiliaryAddresses={"r": "10.8.0.1"}), "auxiliary address"),
        (subnets("", Gateway="10.9.0.1"), "subnet"),
        (options("bridge"), "works on each host for itself"),
        (options("macvlan") | {"Scope": "swarm"}, "needs a configuration network"),
        (options("macvlan", parent="eth0") | FROM, "user-supplied configurations are not supported"),
        (options("bridge") | {"Scope": "swarm"} | subnets("10.9.0.0/24"), "each host's own"),
        (options("bridge") | {"Scope": "swarm", "Ingress": True}, "only overlay driver"),
        (FROM, "takes no configuration from another network"),
        ({"Scope": "local"}, "belong to the swarm"),
        ({"Ingress": True, "Attachable": True}, "ingress network cannot be attachable"),
        ({"Ingress": True, "Internal": True}, "ingress network cannot be internal"),
        (options(encrypted="maybe"), "invalid option encrypted='maybe'"),
        (options(**{"pyswarm.antispoof": "no"}), "invalid setting pyswarm.antispoof='no'"),
        ({"Labels": {"pyswarm.antispoof": ""}}, "invalid setting pyswarm.antispoof=''"),
        (options(**{MTU: "67"}), "driver.mtu='67'"),
        (options(**{MTU: "65536"}), "driver.mtu='65536'"),
        (options(**{MTU: "-1"}), "driver.mtu='-1'"),
        (options(**{MTU: "big"}), "driver.mtu='big'"),
        (options(**{MTU: "1200"}) | {"IPv6Enabled": True}, "driver.mtu='1200'"),
        (options(**{VXLAN_IDS: "x"}), "x"),
        (options(**{VXLAN_IDS: "0"}), "VXLAN id"),
        (options(**{VXLAN_IDS: "16777216"}), "VXLAN id"),
        ({"IPAMOptions": {"Driver": {"Name": "dhcp"}}}, "IPAM driver 'dhcp'"),
        ({"IPAMOptions": {"Driver": {"Options": {"a": "b"}}}}, "IPAM options are not supported yet: a"),
    ],
)
async def test_what_makes_no_sense_is_refused(bench: Bench, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        await bench.network("shop", **fields)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)
    assert len(bench.store.view().networks) == 0


async def test_subnets_of_one_network_do_not_overlap(bench: Bench) -> None:
    with pytest.raises(SwarmError, match=r"10\.9\.0\.0/24"):
        await bench.network("shop", **subnets("10.9.0.0/16", "10.9.0.0/24"))
    with pytest.raises(Invalid):
        await bench.network("shop", **options(**{VXLAN_IDS: "5000"}), **subnets("10.8.0.0/24", "10.9.0.0/24"))
    assert len(bench.store.view().networks) == 0


@pytest.mark.parametrize("name", ["", "-x", "a b", "a" * 64, "a.b"])
async def test_a_bad_name_is_refused(bench: Bench, name: str) -> None:
    with pytest.raises(Invalid, match="network name"):
        await bench.network(name)


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("host", {}, "host is a pre-defined network"),
        ("shop", options("host"), 'only one instance of "host" network is allowed'),
        ("shop", options("null"), 'only one instance of "null" network is allowed'),
    ],
)
async def test_networks_of_every_host_are_not_made_again(
    bench: Bench, name: str, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(Forbidden, match=words):
        await bench.network(name, **fields)


async def test_there_is_one_ingress_network(bench: Bench) -> None:
    first = await bench.network("way-in", Ingress=True)
    with pytest.raises(Conflict, match=rf"^ingress network \({first.id}\) is already present$"):
        await bench.network("other", Ingress=True)


async def given(bench: Bench, network: Network, subnet: str, vni: int) -> None:
    """As the allocator does."""
    state = Driver(name="overlay", options={VXLAN_IDS: str(vni)})
    ipam = IPAMOptions(configs=(IPAMConfig(subnet=subnet, gateway=subnet.replace(".0/24", ".1")),))
    async with bench.store.update() as tx:
        tx.networks.put(replace(network, ipam_options=ipam, driver_state=state))


async def test_subnets_and_vxlan_ids_of_other_networks_are_taken(bench: Bench) -> None:
    await given(bench, await bench.network("first"), "10.0.1.0/24", 4096)
    with pytest.raises(
        Conflict, match=r"subnet 10\.0\.0\.0/16 overlaps with .*10\.0\.1\.0/24 of network first"
    ):
        await bench.network("shop", **subnets("10.0.0.0/16"))
    with pytest.raises(Conflict, match=r"4096 is .* by network first"):
        await bench.network("shop", **options(**{VXLAN_IDS: "4096"}))
    await bench.network("shop", **subnets("10.0.2.0/24"), **options(**{VXLAN_IDS: "4097"}))


async def test_what_another_network_asks_for_is_taken_before_it_is_given(bench: Bench) -> None:
    await bench.network("first", **subnets("10.9.0.0/24"), **options(**{VXLAN_IDS: "5000"}))
    with pytest.raises(Conflict, match="of network first"):
        await bench.network("shop", **subnets("10.9.0.0/16"))
    with pytest.raises(Conflict, match=r"5000 is .* by network first"):
        await bench.network("shop", **options(**{VXLAN_IDS: "5000"}))


async def test_a_hosts_own_network_is_warned_of(bench: Bench) -> None:
    node = await bench.node("n1", hostname="alpha")
    async with bench.store.update() as tx:
        description = NodeDescription(hostname="alpha", host_subnets=("10.9.7.1/24",))
        tx.nodes.put(replace(node, description=description))
    wanted = convert_spec({"Name": "shop", **subnets("10.9.0.0/16")}, NetworkSpec)
    reply = await bench.control.carry_out(CreateNetwork(id="x", spec=wanted))
    assert reply.warnings == ("subnet 10.9.0.0/16 overlaps with network 10.9.7.0/24 of node alpha",)


async def test_an_ingress_network_in_the_way_of_a_host_is_refused(bench: Bench) -> None:
    node = await bench.node("n1", hostname="alpha")
    async with bench.store.update() as tx:
        description = NodeDescription(
            hostname="alpha", host_subnets=("10.9.7.1/24",), host_routes=("10.8.0.0/24", "10.0.0.0/9")
        )
        tx.nodes.put(replace(node, description=description))
    for wanted, around in (("10.9.0.0/16", "network 10.9.7.0/24"), ("10.8.0.0/16", "route 10.8.0.0/24")):
        with pytest.raises(
            Conflict, match=f"{wanted} of the ingress network overlaps with {around} of node alpha"
        ):
            await bench.network("mesh", Ingress=True, **subnets(wanted))
    await bench.network("mesh", Ingress=True, **subnets("10.7.0.0/16"))


async def test_options_that_mean_nothing_are_told_of(bench: Bench) -> None:
    wanted = convert_spec({"Name": "shop", **options(dsr="")}, NetworkSpec)
    reply = await bench.control.carry_out(CreateNetwork(id="x", spec=wanted))
    assert reply.warnings == ("option dsr has no effect on an overlay network",)


# -- removing --------------------------------------------------------------------------------------


async def remove(bench: Bench, text: str = "shop") -> None:
    await bench.control.carry_out(RemoveNetwork(id=text))


async def task(
    bench: Bench, service: str = "id-web", desired: TaskState = TaskState.RUNNING, **more: Any
) -> Task:
    """It runs on node n1, attached to the network shop."""
    made = Task(
        id="t1",
        service_id=service,
        node_id="n1",
        desired_state=desired,
        status=TaskStatus(state=TaskState.RUNNING),
        networks_attachments=(NetworkAttachment(network_id="net-shop"),),
    )
    async with bench.store.update() as tx:
        return tx.tasks.put(replace(made, **more))


@pytest.mark.parametrize("text", ["shop", "net-shop", "net-"])
async def test_a_network_that_nobody_uses_is_removed(bench: Bench, text: str) -> None:
    await bench.network("shop")
    await remove(bench, text)
    assert len(bench.store.view().networks) == 0
    with pytest.raises(NotFound, match="network shop not found"):
        await remove(bench)


async def test_a_network_of_a_service_stays(bench: Bench) -> None:
    await bench.network("shop")
    await bench.create(TaskTemplate={"Networks": [{"Target": "shop"}]})
    with pytest.raises(FailedPrecondition, match=r"^network net-shop is in use by service id-web$"):
        await remove(bench)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"service_id": ""},
        {
            "networks_attachments": (),
            "spec": TaskSpec(networks=(NetworkAttachmentConfig(target="net-shop"),)),
            "status": TaskStatus(state=TaskState.NEW),
        },
    ],
    ids=["of a former spec", "of no service", "not allocated yet"],
)
async def test_a_network_of_a_task_that_shall_run_stays(bench: Bench, more: dict[str, Any]) -> None:
    await bench.network("shop")
    await bench.create()
    await task(bench, **more)
    with pytest.raises(FailedPrecondition, match=r"^network net-shop is in use by task t1$"):
        await remove(bench)
    assert bench.store.view().networks.get("net-shop") is not None


async def leaving(bench: Bench) -> Network:
    """Its service is gone, the service's task still runs."""
    await bench.node("n1")
    await bench.network("shop", **subnets("10.9.0.0/24"))
    await bench.create(TaskTemplate={"Networks": [{"Target": "shop"}]})
    await task(bench)
    await bench.control.carry_out(RemoveService(id="web"))
    await remove(bench)
    network = bench.store.view().networks.get("net-shop")
    assert network is not None
    return network


async def test_right_after_its_services_a_network_is_gone_for_its_users_but_kept_for_their_tasks(
    bench: Bench,
) -> None:
    assert (await leaving(bench)).pending_delete
    for text in ("shop", "net-shop", "net-s"):
        with pytest.raises(NotFound):
            await remove(bench, text)
        with pytest.raises(Invalid, match="not found"):
            await bench.create("api", TaskTemplate={"Networks": [{"Target": text}]})


async def test_its_name_and_subnet_can_be_taken_at_once(bench: Bench) -> None:
    old = await leaving(bench)
    spec = convert_spec({"Name": "shop", **subnets("10.9.0.0/24")}, NetworkSpec)
    await bench.control.carry_out(CreateNetwork(id="new", spec=spec))
    assert {network.id for network in bench.store.view().networks} == {old.id, "new"}
    assert [network.id for network in bench.store.view().networks.find("name", "shop")] == ["new"]


@pytest.mark.parametrize(
    ("state", "desired", "kept"),
    [
        (TaskState.RUNNING, TaskState.SHUTDOWN, True),
        (TaskState.SHUTDOWN, TaskState.SHUTDOWN, False),
        (TaskState.FAILED, TaskState.RUNNING, False),
    ],
)
async def test_tasks_that_are_to_end_keep_it_until_they_have_ended(
    bench: Bench, state: TaskState, desired: TaskState, kept: bool
) -> None:
    await bench.node("n1")
    await bench.network("shop")
    await bench.create()
    await task(bench, desired=desired, status=TaskStatus(state=state))
    await remove(bench)
    assert ("net-shop" in bench.store.view().networks) is kept


async def test_tasks_on_a_dead_node_do_not_keep_it(bench: Bench) -> None:
    await bench.node("n1", state=NodeState.DOWN)
    await bench.network("shop")
    await task(bench, desired=TaskState.REMOVE)
    await remove(bench)
    assert len(bench.store.view().networks) == 0


async def test_the_ingress_network_stays_while_ports_are_published(bench: Bench) -> None:
    await bench.network("way-in", Ingress=True)
    held = await bench.create(EndpointSpec={"Ports": [{"TargetPort": 80}]})
    with pytest.raises(FailedPrecondition, match="ingress network cannot be removed because service id-web"):
        await remove(bench, "way-in")
    await bench.update(held, spec())
    await remove(bench, "way-in")
    assert len(bench.store.view().networks) == 0


async def test_an_ingress_network_stays_until_the_last_task_has_left_it(bench: Bench) -> None:
    await bench.node("n1")
    await bench.network("shop", Ingress=True)
    await task(bench, service="gone")
    with pytest.raises(FailedPrecondition, match="in use by task t1"):
        await remove(bench)
    assert not bench.store.view().networks.find("name", "shop")[0].pending_delete
