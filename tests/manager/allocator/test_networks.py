from __future__ import annotations

from msgspec.structs import replace

from manager.allocator.addresses import SubnetUsage, usage
from manager.rules.network_plan import FIRST_VNI, LAST_VNI, trouble
from swarmcore.model.network import VXLAN_IDS, IPAMConfig, Network
from tests.fakes.virtual_time import run_virtual
from tests.manager.allocator.world import World, cluster, in_state, network, node, service, task


def vnis(found: Network) -> str:
    return found.driver_state.options[VXLAN_IDS] if found.driver_state is not None else ""


def test_networks_get_subnets_gateways_and_vnis() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        async with world.allocating():
            await world.put(network("a"))
            await world.put(network("b", "192.168.7.0/24"), network("c"))
            await world.put(network("d", "172.30.0.0/24", "172.30.1.0/24"))
            assert [world.subnets(n) for n in "abc"] == [
                ["10.0.16.0/24"],
                ["192.168.7.0/24"],
                ["10.0.17.0/24"],
            ]
            found = world.network("a")
            assert found.ipam_options is not None
            assert found.ipam_options.configs[0].gateway == "10.0.16.1"

    run_virtual(story())


def test_vnis_are_different_and_cannot_be_counted_up() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        async with world.allocating():
            names = [f"n{number}" for number in range(40)]
            await world.put(
                *(network(name) for name in names), network("d", "172.30.0.0/24", "172.30.1.0/24")
            )
            found = [int(vni) for name in (*names, "d") for vni in vnis(world.network(name)).split(",")]
            found.append(int(vnis(world.ingress())))
            assert len(set(found)) == 43
            assert all(FIRST_VNI <= vni <= LAST_VNI for vni in found)
            assert not any(vni + 1 in found for vni in found)
            assert max(found) - min(found) > (LAST_VNI - FIRST_VNI) // 2

    run_virtual(story())


def test_what_the_user_says_of_a_subnet_is_kept() -> None:
    async def story() -> None:
        world = World()
        said = IPAMConfig(
            subnet="10.5.0.0/24",
            range="10.5.0.128/25",
            gateway="10.5.0.254",
            auxiliary_addresses={"printer": "10.5.0.128"},
        )
        other = IPAMConfig(subnet="10.6.0.0/24", auxiliary_addresses={"router": "10.6.0.1"})
        async with world.allocating():
            await world.put(network("a", said, vnis="77"), network("b", other))
            found = world.network("a")
            assert found.ipam_options is not None
            assert found.ipam_options.configs == (said,)
            assert vnis(found) == "77"
            await world.put(task("t", networks=["a", "b"]))
            assert world.addresses("t") == {"a": ("10.5.0.129/24",), "b": ("10.6.0.3/24",)}

    run_virtual(story())


def test_every_ipv4_subnet_of_a_dual_stack_network_has_an_ipv6_one() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        async with world.allocating():
            await world.put(network("a", ipv6=True))
            await world.put(network("b", "fd12::/64", ipv6=True))
            await world.put(network("c", "10.7.0.0/29", "10.8.0.0/24", "fd13::/64", ipv6=True))
            assert [":" in subnet for subnet in world.subnets("a")] == [False, True]
            assert world.subnets("b")[1] == "fd12::/64"
            assert [":" in subnet for subnet in world.subnets("c")] == [False, False, True, True]
            ours = world.subnets("a")[1].split(":")[:3]
            assert world.subnets("c")[3].split(":")[:3] == ours
            # Five tasks fill the first IPv4 subnet: the sixth has both its addresses in the second pair.
            await world.put(*(task(f"t{n}", networks=["c"]) for n in range(6)))
            assert world.addresses("t4")["c"] == ("10.7.0.6/29", "fd13::6/64")
            v4, v6 = world.addresses("t5")["c"]
            assert v4 == "10.8.0.2/24"
            assert not v6.startswith("fd13::")

    run_virtual(story())


def test_chosen_subnets_avoid_the_networks_of_hosts() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster(), node("n1", "10.0.0.0/16", "0.0.0.0/0", "nonsense"))
        async with world.allocating():
            assert world.subnets(world.ingress().id)[0] == "10.1.0.0/20"
            await world.put(network("mine", "10.0.3.0/24"))
            assert world.subnets("mine") == ["10.0.3.0/24"]  # the user was warned

    run_virtual(story())


def test_a_network_that_cannot_have_its_subnet_waits_and_its_tasks_say_why() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a", "10.5.0.0/16"))
            taken = vnis(world.network("a"))
            await world.put(network("b", "10.5.9.0/24"), network("c", vnis=taken), network("d"))
            assert (world.subnets("b"), world.subnets("c")) == ([], [])
            assert world.subnets("d")
            assert "overlaps with 10.5.0.0/16 of network net-a" in trouble(world.network("b"), world.view)
            assert f"VNI {taken} is already used by network net-a" in trouble(world.network("c"), world.view)
            assert trouble(world.network("d"), world.view) == ""
            await world.put(task("t", networks=["b"]))
            err = world.task("t").status.err
            assert err == (
                "network net-b has no subnet yet: subnet 10.5.9.0/24 overlaps with 10.5.0.0/16 of network net-a"
            )
            await world.remove("a")
            assert world.subnets("b") == ["10.5.9.0/24"]
            assert vnis(world.network("c")) == taken
            assert world.addresses("t") == {"b": ("10.5.9.2/24",)}
            assert world.task("t").status.err == ""

    run_virtual(story())


def test_used_up_pools_are_told_and_a_removed_network_gives_its_subnet_to_the_next() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster("10.0.0.0/22"))
        async with world.allocating():
            await world.put(*(network(n) for n in "abcd"))
            assert [world.subnets(n) for n in "abcd"] == [
                ["10.0.1.0/24"],
                ["10.0.2.0/24"],
                ["10.0.3.0/24"],
                [],
            ]
            assert "no free /24 subnet is left in the address pools 10.0.0.0/22" in trouble(
                world.network("d"), world.view
            )
            await world.remove("b")
            assert world.subnets("d") == ["10.0.2.0/24"]

    run_virtual(story())


def test_a_network_that_is_being_removed_lends_its_subnet_to_who_asks_for_it_but_not_its_vni() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("a", "10.5.0.0/24"))
            taken = vnis(world.network("a"))
            await world.put(replace(world.network("a"), pending_delete=True))
            await world.put(network("b", "10.5.0.0/24"), network("c", vnis=taken))
            assert world.subnets("b") == ["10.5.0.0/24"]
            assert vnis(world.network("b")) not in ("", taken)
            assert vnis(world.network("c")) == ""

    run_virtual(story())


def test_networks_of_other_drivers_are_left_alone() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            await world.put(network("local", driver="macvlan"))
            attached = service("s1", ["local"])
            await world.put(attached, task("t1", attached))
            assert world.network("local").ipam_options is None
            assert world.vips("s1") == []
            assert world.addresses("t1") == {"local": ()}
            on_host = service("s2", ["host"])
            await world.put(on_host, task("t2", on_host))
            assert world.addresses("t2") == {}

    run_virtual(story())


def test_usage_counts_what_can_be_given_and_what_is() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            kept = IPAMConfig(subnet="10.5.0.0/24", auxiliary_addresses={"mine": "10.5.0.9"})
            await world.put(network("a", kept, "fd05::/64", ipv6=True))
            web = service("s1", ["a"])
            await world.put(web, task("t1", web), task("t2", web))
            assert usage(world.view, "a") == (
                SubnetUsage(subnet="10.5.0.0/24", used=3, size=252),
                SubnetUsage(subnet="fd05::/64", used=3, size=2**64 - 2),
            )
            await world.put(in_state(world.task("t1"), task("x").status.state.FAILED))
            assert [u.used for u in usage(world.view, "a")] == [2, 2]
            assert usage(world.view, "nothing") == ()

    run_virtual(story())
