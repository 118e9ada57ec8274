"""Addresses that containers outside of services ask for: given, or refused with the reason."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from swarmcore.model.network import IPAMConfig, NetworkAttachmentConfig
from swarmcore.model.task import NetworkAttachmentSpec, RuntimeType, Task, TaskSpec
from tests.fakes.virtual_time import run_virtual
from tests.manager.allocator.world import S, World, cluster, in_state, network, task


def attachment(id: str, *addresses: str, on: str = "a") -> Task:
    wish = NetworkAttachmentConfig(target=on, aliases=("db",), addresses=addresses)
    spec = TaskSpec(
        runtime=RuntimeType.ATTACHMENT,
        network_attachment_spec=NetworkAttachmentSpec(container_id=f"c-{id}"),
        networks=(wish,),
    )
    return replace(task(id), name=f"name-{id}", node_id="n1", spec=spec, slot=0)


def test_a_container_gets_the_addresses_that_it_asks_for_or_any() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        async with world.allocating():
            await world.put(network("a", "10.1.0.0/24", "fd01::/64", ipv6=True))
            asked = ("10.1.0.77", "fd01::77")
            await world.put(attachment("t1", *asked), attachment("t2", "10.1.0.50"), attachment("t3"))
            assert world.addresses("t1") == {"a": ("10.1.0.77/24", "fd01::77/64")}
            assert world.addresses("t2")["a"][0] == "10.1.0.50/24"
            assert world.addresses("t2")["a"][1].endswith("/64")
            assert len(world.addresses("t3")["a"]) == 2
            found = world.task("t1")
            assert found.status.state is S.PENDING
            assert (found.node_id, found.networks_attachments[0].aliases) == ("n1", ("db",))

    run_virtual(story())


def test_a_taken_address_is_refused_by_name_and_given_once_it_is_free() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a", "10.1.0.0/24"))
            await world.put(attachment("t1", "10.1.0.77"), attachment("t2", "10.1.0.77"))
            assert world.task("t2").status.state is S.NEW
            assert world.task("t2").status.err == "address 10.1.0.77 is already in use on network net-a"
            await world.put(in_state(world.task("t1"), S.COMPLETE))
            assert world.addresses("t2") == {"a": ("10.1.0.77/24",)}

    run_virtual(story())


def test_what_the_network_does_not_give_out_is_refused() -> None:
    async def story() -> None:
        world = World()
        configs = IPAMConfig(
            subnet="10.1.0.0/24", range="10.1.0.128/25", auxiliary_addresses={"router": "10.1.0.200"}
        )
        async with world.allocating():
            await world.put(network("a", configs))
            wishes = {
                "t2": "10.1.0.1",
                "t3": "10.1.0.200",
                "t4": "10.9.0.1",
                "t5": "fd01::5",
            }
            await world.put(*(attachment(id, wish) for id, wish in wishes.items()))
            for id, wish in wishes.items():
                assert world.task(id).status.err == f"network net-a does not give out {wish}"
            await world.put(attachment("t6", "10.1.0.201"), attachment("t7", "10.1.0.5"))
            assert world.addresses("t6") == {"a": ("10.1.0.201/24",)}
            assert world.addresses("t7") == {
                "a": ("10.1.0.5/24",)
            }  # outside of the range: only who asks gets it

    run_virtual(story())


def test_both_families_come_from_one_place() -> None:
    """An IPv6 subnet shares the VNI of the IPv4 subnet at its place: a container has one of each, or it cannot."""

    async def story() -> None:
        world = World()
        async with world.allocating():
            subnets = ("10.1.0.0/24", "10.2.0.0/24", "fd01::/64", "fd02::/64")
            await world.put(network("a", *subnets, ipv6=True))
            await world.put(
                attachment("t1", "10.2.0.9"),
                attachment("t2", "fd02::9"),
                attachment("t3", "10.1.0.9", "fd02::8"),
            )
            assert world.addresses("t1")["a"][1].startswith("fd02::")
            assert world.addresses("t2")["a"][0].startswith("10.2.0.")
            assert world.task("t3").status.err == "network net-a does not give out 10.1.0.9 with fd02::8"

    run_virtual(story())


def test_a_wish_does_not_help_where_the_other_family_is_full() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a", "10.1.0.0/30", "fd01::/64", ipv6=True))
            await world.put(attachment("t1"))
            await world.put(attachment("t2", "fd01::99"))
            assert "is full" in world.task("t2").status.err
            await world.remove("t1")
            assert world.addresses("t2")["a"] == ("10.1.0.2/30", "fd01::99/64")

    run_virtual(story())


@given(st.lists(st.tuples(st.sampled_from(["ask", "any", "end"]), st.integers(2, 14)), max_size=30))
@settings(max_examples=40, deadline=None)
def test_no_address_is_ever_given_twice(steps: list[tuple[str, int]]) -> None:
    async def story() -> None:
        world = World()
        chance = random.Random(len(steps))
        async with world.allocating():
            await world.put(network("a", "10.1.0.0/28"))
            for position, (kind, place) in enumerate(steps):
                if kind == "end":
                    alive = [t for t in world.view.tasks if not t.status.state.is_final]
                    if alive:
                        await world.put(in_state(chance.choice(alive), S.COMPLETE))
                    continue
                wish = (f"10.1.0.{place}",) if kind == "ask" else ()
                await world.put(attachment(f"t{position:02}", *wish))
            held: list[str] = []
            for found in world.view.tasks:
                if found.status.state is not S.PENDING:
                    continue
                (address,) = found.networks_attachments[0].addresses
                held.append(address)
                if wished := found.spec.networks[0].addresses:
                    assert address == f"{wished[0]}/28"
            assert len(held) == len(set(held))
            for found in world.view.tasks:
                if found.status.state is S.NEW and found.spec.networks[0].addresses:
                    assert f"{found.spec.networks[0].addresses[0]}/28" in held

    run_virtual(story())
