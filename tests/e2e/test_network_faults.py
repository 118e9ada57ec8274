"""What overlay networks and published ports survive: damage by hand, dead daemons, partitions, lost hosts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.e2e.probing import (
    PORT,
    WEB,
    address,
    checked,
    links,
    lookup,
    mesh,
    meshed,
    namespaces,
    neighbours,
    on,
    on_host,
    overlay,
    repairs,
    run,
    url,
    vips,
    works,
)
from tests.e2e.swarm import Swarm

pytestmark = [pytest.mark.lab, pytest.mark.root]
SOON = 30.0  # seconds; a host is whole again within five, on a machine that does nothing else
SLOW = (
    "mkdir -p /srv/cgi-bin; "
    "{ echo '#!/bin/sh'; echo \"printf 'Content-Type: text/plain\\\\r\\\\n\\\\r\\\\n'\"; "
    "echo 'for i in 1 2 3 4 5 6; do echo $i; sleep 0.4; done'; } > /srv/cgi-bin/slow; "
    "cp /www/cgi-bin/index.cgi /srv/cgi-bin/; chmod +x /srv/cgi-bin/*; exec httpd -f -p 8000 -h /srv"
)
Check = Callable[[], Awaitable[bool]]


async def soon(swarm: Swarm, check: Check, what: str) -> None:
    await swarm.lab.until(check, what, SOON)


class Shop:
    """A service on a network with published ports, and a container on w1 that asks it."""

    def __init__(self, swarm: Swarm, network: str) -> None:
        self.swarm, self.network = swarm, network
        self.api: list[dict[str, Any]] = []
        self.probe: dict[str, Any] = {}
        self.vip = ""

    async def works(self) -> bool:
        own = [address(task, self.network) for task in self.api]
        return await works(self.swarm, self.probe, "api", own)

    async def meshed(self, *hosts: str) -> bool:
        return await meshed(self.swarm, len(self.api), *hosts)

    async def whole(self) -> bool:
        return await self.works() and await self.meshed("w1", "m1")


async def open_shop(swarm: Swarm, replicas: int = 5, **more: Any) -> Shop:
    shop = Shop(swarm, await swarm.network("shop"))
    await swarm.publish("api", replicas, "shop", ports=[WEB], **more)
    await swarm.publish("probe", 1, "shop", placement=on("w1"))
    shop.api = await swarm.until_running("api", replicas)
    (shop.probe,) = await swarm.until_running("probe", 1)
    (shop.vip,) = await vips(swarm, "api")
    await swarm.until(shop.whole, "names, virtual address and mesh")
    return shop


async def wires_of(swarm: Swarm, network: str, host: str, task: dict[str, Any]) -> tuple[str, str]:
    """The near ends of a container's wire on the overlay, and of its wire to the host."""
    near = {
        link["ifname"]: link["link_index"]
        for link in await links(swarm.namespace_of(task))
        if "link_index" in link
    }
    home = await links(swarm.lab.network.path(host))
    (gateway,) = [
        link["ifname"] for link in home if link["ifindex"] == near["gw0"] and link["ifname"][:2] == "gv"
    ]
    inside = await links(overlay(swarm, host, network))
    (wire,) = [link["ifname"] for link in inside if link["ifindex"] == near["eth0"]]
    return wire, gateway


async def test_damage_by_hand_is_repaired_and_counted(swarm: Swarm) -> None:
    shop = await open_shop(swarm)
    w1 = overlay(swarm, "w1", shop.network)
    (device,) = [
        link["ifname"] for link in await links(w1) if link.get("linkinfo", {}).get("info_kind") == "vxlan"
    ]
    wire, gateway = await wires_of(swarm, shop.network, "w1", shop.probe)
    container = swarm.namespace_of(shop.probe)
    (mine,) = [t for t in shop.api if t["NodeID"] == shop.probe["NodeID"]]
    home = swarm.lab.network.path("w1")

    async def delete_rules() -> None:
        for family in ("-4", "-6"):
            for line in (await run(home, "ip", family, "rule", "show")).splitlines():
                number = line.partition(":")[0]
                if number not in ("0", "32766", "32767"):
                    await run(home, "ip", family, "rule", "del", "priority", number)

    async def shell(*commands: tuple[Any, ...]) -> None:
        for namespace, *words in commands:
            await run(namespace, *words)

    damages: dict[str, Callable[[], Awaitable[None]]] = {
        "neighbours": lambda: shell((w1, "ip", "neigh", "flush", "dev", device, "nud", "permanent")),
        "forwarding entries": lambda: shell(
            (
                w1,
                "sh",
                "-c",
                f"bridge fdb show dev {device} | "
                f"while read mac rest; do bridge fdb del $mac dev {device} self 2>/dev/null; done; true",
            )
        ),
        "rules in a client": lambda: shell((container, "nft", "flush", "ruleset")),
        "rules in a replica": lambda: shell((swarm.namespace_of(mine), "nft", "flush", "ruleset")),
        "rules on the host": lambda: shell((home, "nft", "flush", "ruleset")),
        "vxi": lambda: shell((home, "ip", "link", "delete", "vxi")),
        "the VXLAN device": lambda: shell((w1, "ip", "link", "delete", device)),
        "ip rules": delete_rules,
        "a wire to the overlay": lambda: shell((w1, "ip", "link", "delete", wire)),
        "a wire to the host": lambda: shell((home, "ip", "link", "delete", gateway)),
    }
    for what, damage in damages.items():
        before = await repairs(swarm, "w1")
        await damage()

        async def repaired(before: float = before) -> bool:
            return await repairs(swarm, "w1") > before

        await soon(swarm, repaired, f"{what} to be repaired")
        await soon(swarm, shop.whole, f"names, virtual address and mesh without {what}")


@pytest.mark.parametrize("whose", ["worker", "leader"])
async def test_traffic_goes_on_without_the_daemon_and_names_come_back_with_it(
    swarm: Swarm, patience: None, whose: str
) -> None:
    host = "w2" if whose == "worker" else await swarm.leader()
    shop = await open_shop(swarm)
    await swarm.publish("local", 1, "shop", placement=on(host))
    (local,) = await swarm.until_running("local", 1)
    own = [address(task, shop.network) for task in shop.api]

    async def named() -> bool:
        return await works(swarm, local, "api", own) and await shop.meshed()

    await swarm.until(named, f"names and all replicas on {host}")
    before = await kernel(swarm, host, local)
    outside, inside = await swarm.outside(), swarm.namespace_of(local)
    async with (
        swarm.continuous(outside, *mesh()) as through_mesh,
        swarm.continuous(swarm.namespace_of(shop.probe), url(shop.vip), parallel=1) as elsewhere,
        swarm.continuous(inside, url(shop.vip), parallel=1) as here,
    ):
        await swarm.lab.kill([host], daemon_only=True)
        dead = await swarm.requests(inside, url(shop.vip), count=50)
        dead_mesh = await swarm.requests(outside, *mesh(host), count=50)
        assert (dead.errors, dead_mesh.errors) == ({}, {})
        await swarm.lab.restart([host])
        await swarm.until_ready([host], "m1")
        await swarm.until(named, f"names on {host} again")
        seen = [await end() for end in (through_mesh, elsewhere, here)]
    assert [outcome.errors for outcome in seen] == [{}, {}, {}]
    assert min(outcome.total for outcome in seen) > 50
    report = await checked(swarm, "shop")  # has every host compare its kernel with its tables now
    assert report["Findings"] == []
    assert await repairs(swarm, host) == 0
    assert await kernel(swarm, host, local) == before
    # What the new daemon took over, it can also mend.
    wire, gateway = await wires_of(swarm, shop.network, host, local)
    await run(overlay(swarm, host, shop.network), "ip", "link", "delete", wire)
    await on_host(swarm, host, "ip", "link", "delete", gateway)
    await swarm.lab.until(named, f"both wires of a container on {host} to be mended", 2 * SOON)

    async def mended() -> bool:
        devices = {link["ifname"] for link in await links(inside)}
        return devices >= {"eth0", "gw0"}

    await soon(swarm, mended, "both interfaces of the container")


@pytest.fixture
async def patience(swarm: Swarm) -> AsyncIterator[None]:
    """Hosts have the time that a daemon's restart takes on a machine that is busy with tests."""

    async def heartbeat(seconds: int) -> None:
        found = await swarm.get("m1", "/swarm")
        spec = found["Spec"] | {"Dispatcher": {"HeartbeatPeriod": seconds * 10**9}}
        await swarm.post("m1", "/swarm/update", spec, version=found["Version"]["Index"])

    await heartbeat(10)
    yield
    await heartbeat(1)


async def kernel(swarm: Swarm, host: str, task: dict[str, Any]) -> dict[str, Any]:
    """What a daemon that repairs nothing leaves as it is: devices with their numbers, and rules with theirs."""
    home, container = swarm.lab.network.path(host), swarm.namespace_of(task)
    return {
        "devices": sorted((link["ifindex"], link["ifname"]) for link in await links(home)),
        "container": sorted((link["ifindex"], link["ifname"]) for link in await links(container)),
        "rules": sorted(await run(home, "ip", "rule", "show")),
        "namespaces": namespaces(swarm, host),
    }


async def test_a_partitioned_host_agrees_again_once_it_is_healed(swarm: Swarm) -> None:
    shop = await open_shop(swarm)
    await swarm.publish("old", 3, "shop")
    await swarm.publish("watch", 1, "shop", placement=on("w2"))
    await swarm.until_running("old", 3)
    (watch,) = await swarm.until_running("watch", 1)
    old = await vips(swarm, "old")
    await swarm.lab.partition(["w2"])
    w2 = watch["NodeID"]

    async def moved() -> bool:
        running = await swarm.running("api")
        return len(running) == 3 and all(task["NodeID"] != w2 for task in running)

    await swarm.scale("api", 9)
    await swarm.delete("m1", "/services/old")
    await swarm.scale("api", 3)
    await swarm.until(moved, "three replicas on the other hosts")
    await swarm.lab.heal()
    await swarm.until_ready(["w2"], "m1")
    shop.api = await swarm.until_running("api", 3)
    (watch,) = await swarm.until_running("watch", 1)

    async def agrees() -> bool:
        own = [address(task, shop.network) for task in shop.api]
        if not await works(swarm, watch, "api", own) or not await shop.works():
            return False
        if await lookup(swarm, watch, "old") or await lookup(swarm, watch, "tasks.old"):
            return False
        seen = await swarm.requests(swarm.namespace_of(watch), url(old[0]), count=1)
        return seen.total == 0

    await soon(swarm, agrees, "names and virtual addresses on w2 as everywhere")

    async def no_stale_peers() -> bool:
        alive = [t for t in await swarm.get("m1", "/tasks") if t["Status"]["State"] == "running"]
        expected = {address(t, shop.network) for t in alive if t["NodeID"] != watch["NodeID"]}
        return await neighbours(overlay(swarm, "w2", shop.network)) == expected

    await soon(swarm, no_stale_peers, "w2 to know exactly the containers that live")
    await soon(swarm, shop.meshed, "every node to answer from three replicas")
    assert (await checked(swarm, "shop"))["Findings"] == []


async def test_the_endpoints_of_a_lost_host_are_gone_once_it_is_known(swarm: Swarm) -> None:
    shop = await open_shop(swarm)
    await swarm.publish("watch", 5, "shop")
    watchers = await swarm.until_running("watch", 5)
    lost = (await swarm.nodes())["w2"]["ID"]
    gone = {address(task, shop.network) for task in shop.api if task["NodeID"] == lost}
    watchers = [task for task in watchers if task["NodeID"] != lost]
    assert gone
    await swarm.lab.kill(["w2"])

    async def down() -> bool:
        return bool((await swarm.nodes())["w2"]["Status"]["State"] == "down")

    await swarm.until(down, "w2 to be down")

    async def forgotten() -> bool:
        known = await asyncio.gather(*(lookup(swarm, task, "tasks.api") for task in watchers))
        if any(found & gone for found in known):
            return False
        here = [swarm.requests(swarm.namespace_of(task), url(shop.vip), count=20) for task in watchers]
        return not any(outcome.errors for outcome in await asyncio.gather(*here))

    await soon(swarm, forgotten, "no name or virtual address to mean containers of w2")
    shop.api = await swarm.until_running("api", 5)
    await swarm.until(shop.works, "the new replicas to answer")
    assert await shop.meshed("m1", "m2", "m3", "w1")


async def test_a_slow_answer_is_finished_while_new_connections_go_elsewhere(swarm: Swarm) -> None:
    await swarm.network("shop")
    await swarm.publish("slow", 2, "shop", labels={"pyswarm.drain": "8s"}, Command=["sh", "-c", SLOW])
    await swarm.publish("probe", 1, "shop")
    await swarm.until_running("slow", 2)
    (probe,) = await swarm.until_running("probe", 1)
    (vip,) = await vips(swarm, "slow")
    place = swarm.namespace_of(probe)

    async def both() -> bool:
        seen = await swarm.requests(place, url(vip), count=20)
        return not seen.errors and len(seen.answers) == 2

    await swarm.until(both, "two replicas")

    async def connected() -> bool:
        return (await run(place, "ss", "-Htn", "state", "established")).count(f":{PORT}") >= 16

    async def one_left() -> bool:
        seen = await swarm.requests(place, url(vip), count=20)
        return not seen.errors and len(seen.answers) == 1

    async with asyncio.TaskGroup() as group:
        slow = swarm.requests(place, f"http://{vip}:{PORT}/cgi-bin/slow", count=16, parallel=16)
        answers = group.create_task(slow)
        await swarm.until(connected, "sixteen slow connections")
        await swarm.scale("slow", 1)
        await swarm.until(one_left, "new connections to go to one replica only")
        seen = await answers
    assert seen.errors == {}
    assert seen.answers == {"1\n2\n3\n4\n5\n6": 16}


async def test_a_service_without_connections_does_not_wait_for_its_drain_time(swarm: Swarm) -> None:
    await swarm.network("shop")
    await swarm.publish("idle", 3, "shop", labels={"pyswarm.drain": "300s"})
    await swarm.until_running("idle", 3)
    await swarm.delete("m1", "/services/idle")

    async def gone() -> bool:
        return not await swarm.get("m1", "/tasks")

    await swarm.until(gone, "the service's tasks to end")


async def test_a_host_that_stands_still_does_not_hold_up_the_stops_of_others(swarm: Swarm) -> None:
    await swarm.network("shop")
    for host in ("w1", "w2"):
        await swarm.publish(f"on-{host}", 1, "shop", placement=on(host))
    await swarm.until_running("on-w1", 1)
    (stopped,) = await swarm.until_running("on-w2", 1)
    swarm.lab.pause(["w1"])
    await swarm.scale("on-w2", 0)

    async def ended() -> bool:
        return not any(
            t["ID"] == stopped["ID"] and t["Status"]["State"] == "running" for t in await swarm.tasks("on-w2")
        )

    await soon(swarm, ended, "the task of w2 to end")


async def test_a_worker_that_leaves_keeps_nothing_of_the_swarm(swarm: Swarm) -> None:
    shop = await open_shop(swarm)
    await on_host(swarm, "w2", "nft", "add", "rule", "inet", "pyswarm-user", "forward", "counter")
    node = (await swarm.nodes())["w2"]["ID"]
    try:
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(swarm.cli("w2", "leave", "--force"))
            for number in itertools.count():  # its last session goes on bringing news
                if leaving.done():
                    break
                await swarm.publish(f"late-{number}", 5, "shop")
        code, _, err = leaving.result()
        assert (code, err) == (0, "")

        async def clean() -> bool:
            home = await links(swarm.lab.network.path("w2"))
            rules = [
                line.partition(":")[0]
                for family in ("-4", "-6")
                for line in (await on_host(swarm, "w2", "ip", family, "rule", "show")).splitlines()
            ]
            tables = (await on_host(swarm, "w2", "nft", "list", "tables")).split("\n")
            return (
                {link["ifname"] for link in home} == {"lo", "eth0"}
                and namespaces(swarm, "w2") == set()
                and set(rules) <= {"0", "32766", "32767"}
                and [table for table in tables if table] == ["table inet pyswarm-user"]
            )

        await swarm.until(clean, "nothing of the swarm to be left on w2")

        async def without() -> bool:
            hosts = {t["NodeID"] for t in await swarm.running("api")}
            return (
                len(hosts) == 4 and node not in hosts
            )  # its own task is shown until its session is given up

        await swarm.until(without, "the other hosts to run all replicas")
        shop.api = await swarm.until_running("api", 5)
        await swarm.until(shop.works, "the service to work without w2")
    finally:
        await swarm.delete("m1", f"/nodes/{node}", force="true")
        await on_host(swarm, "w2", "nft", "flush", "chain", "inet", "pyswarm-user", "forward")
        await swarm.lab.up(3, 2)
