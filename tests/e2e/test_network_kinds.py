"""Networks of every kind in a real swarm: full ones, encrypted ones, with IPv6, of one host, and attachable ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.places import HERE, at
from tests.e2e.probing import WEB, address, lookup, on, run, url, vips, works
from tests.e2e.swarm import Swarm

pytestmark = [pytest.mark.lab, pytest.mark.root]


def container_of(task: dict[str, Any]) -> str:
    return str(task["Status"]["ContainerStatus"]["ContainerID"])


async def own_addresses(swarm: Swarm, task: dict[str, Any]) -> set[str]:
    """All addresses that the kernel has in the task's container."""
    found = json.loads(await run(swarm.namespace_of(task), "ip", "-j", "address", "show"))
    return {info["local"] for link in found for info in link["addr_info"]}


async def do(swarm: Swarm, host: str, *words: str) -> str:
    code, out, err = await swarm.cli(host, *words)
    assert code == 0, f"{' '.join(words)}: {err}"
    return out


async def test_a_full_network_is_named_by_the_waiting_tasks_and_by_inspect(swarm: Swarm) -> None:
    await do(swarm, "m1", "network", "create", "-d", "overlay", "--subnet", "10.91.0.0/29", "tiny")
    await swarm.publish("many", 6, "tiny")

    async def said() -> bool:
        tasks = await swarm.tasks("many")
        waiting = [t for t in tasks if t["Status"]["State"] in ("new", "pending")]
        running = [t for t in tasks if t["Status"]["State"] == "running"]
        texts = [t["Status"].get("Err", "") for t in waiting]
        return len(running) == 4 and len(waiting) == 2 and all("tiny" in text for text in texts)

    await swarm.until(said, "two tasks that say that the network is full")
    assert "tiny" in await do(swarm, "m1", "service", "ps", "--no-trunc", "many")
    (shown,) = json.loads(await do(swarm, "m1", "network", "inspect", "tiny"))
    assert any("full" in warning for warning in shown["Status"]["Warnings"])
    await swarm.scale("many", 2)
    await swarm.until_running("many", 2)
    await swarm.scale("many", 4)
    await swarm.until_running("many", 4)


async def test_a_host_without_encryption_says_so_instead_of_sending_in_clear(swarm: Swarm) -> None:
    await swarm.network("secret", Options={"encrypted": ""})
    await swarm.publish("vault", 1, "secret", placement=on("w1"))

    async def rejected() -> bool:
        tasks = await swarm.tasks("vault")
        refused = [t for t in tasks if t["Status"]["State"] == "rejected"]
        return any("ESP" in t["Status"].get("Err", "") for t in refused)

    async def runs() -> bool:
        return bool(await swarm.running("vault"))

    async def either() -> bool:
        return await rejected() or await runs()

    await swarm.until(either, "the task to run encrypted, or to be rejected with the reason")
    if await rejected():
        assert not await swarm.running("vault")
        assert "ESP" in await do(swarm, "m1", "service", "ps", "--no-trunc", "vault")


async def test_a_dual_stack_network_has_names_and_virtual_addresses_of_both_families(swarm: Swarm) -> None:
    await do(swarm, "m1", "network", "create", "-d", "overlay", "--ipv6", "both")
    await swarm.publish("api", 5, "both")
    await swarm.publish("probe", 1, "both")
    api = await swarm.until_running("api", 5)
    (probe,) = await swarm.until_running("probe", 1)
    given = await vips(swarm, "api")
    assert [":" in each for each in given] == [False, True]
    own = {each.partition("/")[0] for task in api for each in task["NetworksAttachments"][0]["Addresses"]}
    assert len(own) == 10

    async def named() -> bool:
        return await lookup(swarm, probe, "tasks.api") == own and await lookup(swarm, probe, "api") == set(
            given
        )

    await swarm.until(named, "names in both families")

    async def answered() -> bool:
        for virtual in given:
            seen = await swarm.requests(swarm.namespace_of(probe), url(virtual), count=60)
            if seen.errors or len(seen.answers) != 5:
                return False
        return True

    await swarm.until(answered, "all replicas behind both virtual addresses")


async def test_a_service_container_joins_and_leaves_a_bridge_of_its_host(swarm: Swarm) -> None:
    await swarm.network("shop")
    await swarm.publish("one", 1, "shop", placement=on("w1"), ports=[WEB])
    await swarm.publish("two", 1, "shop", placement=on("w1"))
    (one,) = await swarm.until_running("one", 1)
    (two,) = await swarm.until_running("two", 1)
    created = await do(swarm, "w1", "network", "create", "-d", "bridge", "--subnet", "10.92.0.0/24", "lan")
    try:
        for task in (one, two):
            await do(swarm, "w1", "network", "connect", "lan", container_of(task))
        lan = (await swarm.get("w1", "/networks/lan"))["Containers"]
        assert set(lan) == {container_of(one), container_of(two)}
        target = lan[container_of(one)]["IPv4Address"].partition("/")[0]
        assert target in await own_addresses(swarm, one)
        seen = await swarm.requests(swarm.namespace_of(two), url(target), count=5)
        assert (seen.errors, seen.total) == ({}, 5)
        (vip,) = await vips(swarm, "one")

        async def both() -> bool:
            seen = await swarm.requests(swarm.namespace_of(two), url(vip), f"http://{at(102)}:8080/", count=6)
            return not seen.errors

        await swarm.until(both, "the overlay and the mesh to work beside it")
        for task in (one, two):
            await do(swarm, "w1", "network", "disconnect", "lan", container_of(task))
        assert (await swarm.get("w1", "/networks/lan"))["Containers"] == {}
        assert target not in await own_addresses(swarm, one)
        await swarm.until(both, "the overlay and the mesh to work as before")
    finally:
        await swarm.delete("m1", "/services/one")
        await swarm.delete("m1", "/services/two")

        async def removed() -> bool:
            await swarm.delete("w1", f"/networks/{created.strip()}")
            return True

        await swarm.until(removed, "the network to be removable")
    bridges = json.loads(
        await run(swarm.lab.network.path("w1"), "ip", "-j", "link", "show", "type", "bridge")
    )
    assert [link for link in bridges if link.get("ifname")] == []


async def test_tasks_on_a_macvlan_network_of_the_swarm_reach_each_other(swarm: Swarm) -> None:
    ranges = {"m1": f"{at(208)}/29", "w1": f"{at(216)}/29", "w2": f"{at(224)}/29"}
    for host, part in ranges.items():
        words = (
            "--config-only",
            "--subnet",
            HERE.subnet,
            "--ip-range",
            part,
            "-o",
            "parent=eth0",
            "wire-of-host",
        )
        await do(swarm, host, "network", "create", *words)
    try:
        made = ("-d", "macvlan", "--scope", "swarm", "--config-from", "wire-of-host", "wire")
        await do(swarm, "m1", "network", "create", *made)
        await swarm.publish("left", 1, "wire", placement=on("w1"), mode="dnsrr")
        await swarm.publish("right", 1, "wire", placement=on("w2"), mode="dnsrr")
        (left,) = await swarm.until_running("left", 1)
        (right,) = await swarm.until_running("right", 1)
        (target,) = {each for each in await own_addresses(swarm, right) if each.startswith(at(22))}
        assert any(each.startswith(at(21)) for each in await own_addresses(swarm, left))

        async def answered() -> bool:
            seen = await swarm.requests(swarm.namespace_of(left), url(target), count=3)
            return seen.total == 3

        await swarm.until(answered, "an answer by the macvlan of the other host")
    finally:
        for service in await swarm.get("m1", "/services"):
            await swarm.delete("m1", f"/services/{service['ID']}")

        async def quiet() -> bool:
            return not await swarm.get("m1", "/tasks")

        await swarm.until(quiet, "the tasks to end")
        await do(swarm, "m1", "network", "rm", "-f", "wire")
        for host in ranges:
            await do(swarm, host, "network", "rm", "wire-of-host")


async def test_a_running_container_joins_an_attachable_overlay_and_leaves_it(swarm: Swarm) -> None:
    shop, club = await swarm.network("shop"), await swarm.network("club", Attachable=True)
    await swarm.publish("api", 2, "club")
    await swarm.publish("guest", 1, "shop", placement=on("w2"))
    api = await swarm.until_running("api", 2)
    (guest,) = await swarm.until_running("guest", 1)
    own = [address(task, club) for task in api]
    assert address(guest, shop) in await own_addresses(swarm, guest)
    before = await own_addresses(swarm, guest)
    await do(swarm, "w2", "network", "connect", "--alias", "visitor", "club", container_of(guest))

    async def member() -> bool:
        return await works(swarm, guest, "api", own)

    await swarm.until(member, "names and the virtual address of the network that it joined")
    (new,) = {each for each in await own_addresses(swarm, guest) - before if ":" not in each}

    async def known() -> bool:
        seen = await swarm.requests(swarm.namespace_of(api[0]), url(new), count=2)
        return await lookup(swarm, api[0], "visitor") == {new} and seen.total == 2

    await swarm.until(known, "the others to know it by its alias")
    await do(swarm, "w2", "network", "disconnect", "club", container_of(guest))

    async def stranger() -> bool:
        return not await lookup(swarm, guest, "api") and not await lookup(swarm, api[0], "visitor")

    await swarm.until(stranger, "no names to be left of either")
    assert new not in await own_addresses(swarm, guest)
