from __future__ import annotations

from msgspec.structs import replace

from manager.allocator.addresses import usage
from swarmcore.model.endpoint import EndpointMode, EndpointSpec, Protocol, PublishMode
from swarmcore.model.service import Service, ServiceSpec
from swarmcore.model.task import TaskSpec
from tests.fakes.virtual_time import run_virtual
from tests.manager.allocator.world import (
    S,
    World,
    cluster,
    joins,
    network,
    port,
    service,
    service_spec,
    task,
)


def test_a_service_has_a_virtual_address_on_each_of_its_networks() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a", "10.1.0.0/24"), network("b", "10.2.0.0/24", "fd02::/64", ipv6=True))
            made = service("s1", ["a", "b"])
            await world.put(made)
            found = world.service("s1")
            assert world.vips("s1") == [("a", "10.1.0.2/24"), ("b", "10.2.0.2/24"), ("b", "fd02::2/64")]
            assert found.endpoint is not None
            assert found.endpoint.spec == made.spec.endpoint_spec
            assert found.spec_version == made.spec_version

    run_virtual(story())


def test_a_service_that_publishes_ports_has_an_address_on_the_ingress_network() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            web, host = service("s1", ["a"], [port(80, 8080)]), port(80, 81, PublishMode.HOST)
            await world.put(network("a", "10.1.0.0/24"), web, task("t1", web), service("s2", [], [host]))
            assert world.vips("s1") == []  # the swarm has yet to begin
            assert world.task("t1").status.err.startswith("the swarm has no ingress network")
            assert world.vips("s2") == []
            await world.put(cluster())
            ingress = world.ingress().id
            (_, on_a), *both = sorted(world.vips("s1"))
            assert on_a == "10.1.0.2/24"
            assert [network_id for network_id, _ in both] == [ingress, ingress]
            assert [":" in address for _, address in both] == [False, True]
            assert world.task("t1").status.state is S.PENDING
            # It stays through updates, goes with the last published port, and is given again.
            await world.put(replace(world.service("s1"), spec=service_spec("s1", ["a"], [port(80, 9090)])))
            assert sorted(world.vips("s1"))[1:] == both
            await world.put(replace(world.service("s1"), spec=service_spec("s1", ["a"], [host])))
            assert world.vips("s1") == [("a", "10.1.0.2/24")]
            await world.remove("t1")
            assert [each.used for each in usage(world.view, ingress)] == [0, 0]

    run_virtual(story())


def test_services_of_an_older_release_get_their_address_on_the_ingress_network() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        async with world.allocating():
            await world.put(service("s1", [], [port(80, 8080)]))
        old = world.service("s1")
        assert old.endpoint is not None
        await world.put(replace(old, endpoint=replace(old.endpoint, virtual_ips=())))
        async with world.allocating():
            assert {network_id for network_id, _ in world.vips("s1")} == {world.ingress().id}
            assert world.ports("s1") == [8080]

    run_virtual(story())


def test_a_service_in_mode_dnsrr_has_none() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a"), service("s1", ["a"], mode=EndpointMode.DNSRR))
            found = world.service("s1")
            assert found.endpoint is not None
            assert found.endpoint.spec.mode is EndpointMode.DNSRR
            assert world.vips("s1") == []

    run_virtual(story())


def test_a_service_that_says_nothing_of_its_endpoint_has_the_default() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(Service(id="s1", spec=ServiceSpec(name="web")))
            found = world.service("s1").endpoint
            assert found is not None
            assert found.spec == EndpointSpec()

    run_virtual(story())


def test_the_networks_may_stand_where_old_clients_put_them() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            old = Service(id="s1", spec=ServiceSpec(name="web", networks=joins("a")))
            await world.put(network("a", "10.1.0.0/24"), old, task("t1", old))
            assert world.vips("s1") == [("a", "10.1.0.2/24")]
            assert world.addresses("t1") == {"a": ("10.1.0.3/24",)}

    run_virtual(story())


def test_an_update_keeps_the_addresses_of_networks_that_stay_and_frees_the_others() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            nets = [network("a", "10.1.0.0/24"), network("b", "10.2.0.0/24"), network("c", "10.3.0.0/24")]
            await world.put(*nets, service("s1", ["a", "b"]))
            await world.put(replace(world.service("s1"), spec=service_spec("s1", ["c", "b"])))
            assert world.vips("s1") == [("b", "10.2.0.2/24"), ("c", "10.3.0.2/24")]
            spec = service_spec("s1", ["c", "b"], mode=EndpointMode.DNSRR)
            await world.put(replace(world.service("s1"), spec=spec))
            assert world.vips("s1") == []
            await world.put(replace(world.service("s1"), spec=service_spec("s1", ["b"])))
            assert world.vips("s1") == [("b", "10.2.0.3/24")]  # the old one comes last

    run_virtual(story())


def test_a_service_without_an_address_waits_with_its_tasks_and_gives_up_what_it_does_not_want_any_more() -> (
    None
):
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("tiny", "10.1.0.0/30"), network("b", "10.2.0.0/24"))
            await world.put(service("s1", ["tiny"]), service("s2", ["b"]))
            await world.put(replace(world.service("s2"), spec=service_spec("s2", ["tiny"])))
            await world.put(task("t2", world.service("s2")))
            assert world.vips("s2") == []
            found = world.task("t2")
            assert found.status.state is S.NEW
            assert found.status.err == (
                "could not find an available IP on network net-tiny (10.1.0.0/30 is full: 1 addresses in use)"
            )
            await world.remove("s1")
            assert world.vips("s2") == [("tiny", "10.1.0.2/30")]
            assert world.task("t2").status.err.startswith("could not find")  # now for want of its own

    run_virtual(story())


# -- ports -----------------------------------------------------------------------------------------
def test_ports_that_are_left_open_are_chosen_and_kept_over_updates() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        async with world.allocating():
            ports = [port(80), port(81, 8081), port(53, protocol=Protocol.UDP), port(82)]
            await world.put(service("s1", ports=ports))
            await world.put(service("s2", ports=[port(80)]))
            assert world.ports("s1") == [30000, 8081, 30000, 30001]
            assert world.ports("s2") == [30002]
            spec = service_spec("s1", ports=[port(82), port(90), port(80)])
            await world.put(replace(world.service("s1"), spec=spec))
            assert world.ports("s1") == [30001, 30003, 30000]

    run_virtual(story())


def test_ports_of_mode_host_are_left_to_the_node() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        async with world.allocating():
            ports = [port(80, mode=PublishMode.HOST), port(81, 8081, mode=PublishMode.HOST)]
            made, other = service("s1", ports=ports), service("s2", ports=ports)
            await world.put(made, other, task("t1", made))
            assert (world.ports("s1"), world.ports("s2")) == ([0, 8081], [0, 8081])
            assert world.addresses("t1") == {}

    run_virtual(story())


def test_a_port_of_another_service_is_waited_for_and_told() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        async with world.allocating():
            await world.put(service("s1", ports=[port(80, 8080)]))
            await world.put(service("s2", ports=[port(80, 8080)]))
            await world.put(task("t2", world.service("s2")))
            assert world.task("t2").status.err == (
                "port 8080/tcp is already in use by service service-s1 as an ingress port"
            )
            await world.put(service("s3", ports=[port(80, 8080, protocol=Protocol.UDP)]))
            assert world.ports("s3") == [8080]
            await world.put(replace(world.service("s1"), spec=service_spec("s1")))
            assert world.ports("s2") == [8080]
            assert world.task("t2").status.state is S.PENDING
            found = world.task("t2").endpoint
            assert found == world.service("s2").endpoint

    run_virtual(story())


def test_a_port_asked_for_comes_before_ports_chosen_in_the_same_entry() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        await world.put(service("s1", ports=[port(80)]), service("s2", ports=[port(80, 30000)]))
        async with world.allocating():
            assert (world.ports("s1"), world.ports("s2")) == ([30001], [30000])

    run_virtual(story())


def test_when_all_ports_are_taken_that_is_told() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        async with world.allocating():
            await world.put(service("s1", ports=[port(n + 1) for n in range(2767)]))
            await world.put(service("s2", ports=[port(1), port(2)]))
            await world.put(task("t2", world.service("s2")))
            assert world.task("t2").status.err == "all tcp ports from 30000 to 32767 are published"
            await world.put(replace(world.service("s2"), spec=service_spec("s2", ports=[port(1)])))
            assert world.ports("s2") == [32767]

    run_virtual(story())


def test_the_endpoint_of_a_service_is_no_change_of_its_spec() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a"), service("s1", ["a"]))
            assert world.service("s1").spec_version.index == 0
            entries = len(world.raft.log)
            found = world.service("s1")
            template = replace(found.spec.task_template, force_update=1)
            await world.put(replace(found, spec=replace(found.spec, task_template=template)))
            assert len(world.raft.log) == entries + 1  # nothing new to give
            assert isinstance(found.spec.task_template, TaskSpec)

    run_virtual(story())
