from __future__ import annotations

from msgspec.structs import replace

from manager.allocator.tasks import MESSAGE, WAITING
from swarmcore.model.network import NetworkAttachmentConfig
from swarmcore.model.task import NetworkAttachmentSpec, RuntimeType, TaskSpec
from tests.fakes.virtual_time import run_virtual
from tests.manager.allocator.world import S, World, cluster, in_state, network, port, service, task


def test_a_task_gets_an_address_a_network_and_its_services_endpoint() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        async with world.allocating():
            wish = NetworkAttachmentConfig(target="a", aliases=("db",), driver_opts={"x": "y"})
            web = service("s1", ports=[port(80, 8080)])
            template = TaskSpec(networks=(wish,))
            web = replace(web, spec=replace(web.spec, task_template=template))
            await world.put(network("a", "10.1.0.0/24", "fd01::/64", ipv6=True), web, task("t1", web))
            found = world.task("t1")
            assert (found.status.state, found.status.message) == (S.PENDING, MESSAGE)
            assert found.endpoint == world.service("s1").endpoint
            shop, mesh = found.networks_attachments
            assert (shop.network_id, shop.aliases, shop.driver_opts) == ("a", ("db",), {"x": "y"})
            assert shop.addresses == ("10.1.0.3/24", "fd01::3/64")
            assert mesh.network_id == world.ingress().id
            assert len(mesh.addresses) == 2

    run_virtual(story())


def test_a_full_network_is_told_and_the_first_address_that_is_freed_goes_to_who_waits() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a", "10.1.0.0/24"))
            await world.put(*(task(f"t{n:03}", networks=["a"]) for n in range(150)))
            await world.put(*(task(f"u{n:03}", networks=["a"]) for n in range(105)))
            waiting = [t for t in world.view.tasks if t.status.state is S.NEW]
            assert len(waiting) == 2
            for found in waiting:
                assert found.status.message == WAITING
                assert found.status.err == (
                    "could not find an available IP on network net-a (10.1.0.0/24 is full: 253 addresses in use)"
                )
            freed = world.addresses("t007")
            await world.put(in_state(world.task("t007"), S.COMPLETE))
            served = [t for t in waiting if world.task(t.id).status.state is S.PENDING]
            assert [world.addresses(t.id) for t in served] == [freed]
            await world.remove("t009")
            assert all(world.task(t.id).status.state is S.PENDING for t in waiting)
            assert all(world.task(t.id).status.err == "" for t in waiting)

    run_virtual(story())


def test_waiting_writes_nothing_but_the_reason_once() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a", "10.1.0.0/30"), task("t1", networks=["a"]))
            await world.put(task("t2", networks=["a"]))
            entries = len(world.raft.log)
            await world.put(task("t3"))
            await world.settle()
            assert len(world.raft.log) == entries + 2

    run_virtual(story())


def test_a_task_on_a_network_that_is_not_there_says_so_until_it_is() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(task("t1", networks=["a"]))
            assert world.task("t1").status.err == "network a not found"
            await world.put(network("a", "10.1.0.0/24"))
            assert world.addresses("t1") == {"a": ("10.1.0.2/24",)}

    run_virtual(story())


def test_tasks_that_will_never_run_hold_no_address() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a", "10.1.0.0/30"), task("t1", networks=["a"]))
            await world.put(task("t2", networks=["a"]))
            # PENDING and to be shut down: nobody will give it a node.
            await world.put(replace(world.task("t1"), desired_state=S.SHUTDOWN))
            assert world.addresses("t2") == {"a": ("10.1.0.2/30",)}
        async with world.allocating():
            await world.put(task("t3", networks=["a"]))
            assert world.task("t3").status.state is S.NEW

    run_virtual(story())


def test_a_task_with_a_node_holds_its_address_until_it_has_ended() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a", "10.1.0.0/30"), task("t1", networks=["a"]))
            await world.put(in_state(world.task("t1"), S.RUNNING, node_id="n1"))
            await world.put(replace(world.task("t1"), desired_state=S.SHUTDOWN))
            await world.put(task("t2", networks=["a"]))
            assert world.task("t2").status.state is S.NEW
            await world.put(in_state(world.task("t1"), S.SHUTDOWN))
            assert world.task("t2").status.state is S.PENDING

    run_virtual(story())


def test_an_address_that_was_just_freed_is_not_given_while_another_is_free_even_by_the_next_leader() -> None:
    async def story() -> None:
        world = World()
        await world.put(network("a", "10.1.0.0/28"))
        seen: list[str] = []
        for n in range(11):
            async with world.allocating():
                await world.put(task(f"t{n}", networks=["a"]))
                (address,) = world.addresses(f"t{n}")["a"]
                assert address not in seen
                seen.append(address)
                await world.put(in_state(world.task(f"t{n}"), S.FAILED))

    run_virtual(story())


def test_containers_outside_of_services_get_their_address_too() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            attached = replace(
                task("t1", networks=["a"]),
                node_id="n1",
                spec=TaskSpec(
                    runtime=RuntimeType.ATTACHMENT,
                    network_attachment_spec=NetworkAttachmentSpec(container_id="c1"),
                    networks=(NetworkAttachmentConfig(target="a"),),
                ),
            )
            await world.put(network("a", "10.1.0.0/24"), attached)
            assert world.addresses("t1") == {"a": ("10.1.0.2/24",)}
            assert world.task("t1").status.state is S.PENDING

    run_virtual(story())


def test_a_thousand_tasks_cost_few_entries() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster(), network("a", "10.1.0.0/16"))
        async with world.allocating():
            web = service("s1", ["a"], [port(80, 8080)])
            await world.put(web)
            before = len(world.raft.log)
            for start in range(0, 1000, 200):
                async with world.store.update() as tx:
                    for n in range(start, start + 200):
                        tx.put(task(f"t{n}", world.service("s1")))
            await world.settle()
            assert all(t.status.state is S.PENDING for t in world.view.tasks)
            assert len(world.raft.log) - before <= 12
            everywhere = [a for t in world.view.tasks for a in world.addresses(t.id)["a"]]
            assert len(set(everywhere)) == 1000

    run_virtual(story())


def test_an_entry_that_is_full_leaves_the_rest_to_the_next_with_nothing_lost() -> None:
    async def story() -> None:
        world = World()
        await world.put(network("a", "10.1.0.0/24"))
        for n in range(5):
            large = task(f"t{n}", networks=["a"])
            await world.put(replace(large, labels={"large": "x" * 1_500_000}))
        async with world.allocating():
            assert all(t.status.state is S.PENDING for t in world.view.tasks)
            given = sorted(a for t in world.view.tasks for a in world.addresses(t.id)["a"])
            assert len(set(given)) == 5
        assert max(map(len, world.raft.log)) < 4 << 20

    run_virtual(story())


def test_an_entry_that_surfaces_late_is_known_before_anything_else_is_given() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a", "10.1.0.0/24"))
        for n in range(2):  # too large to share an entry
            large = task(f"t{n}", networks=["a"])
            await world.put(replace(large, labels={"large": "x" * 3_000_000}))
        world.raft.delay_next = True
        async with world.allocating():
            pass
        given = [a for t in world.view.tasks for a in world.addresses(t.id)["a"]]
        assert len(given) == len(set(given)) == 2

    run_virtual(story())
