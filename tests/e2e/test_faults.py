"""What a five-host lab survives: daemons, hosts, leaders, partitions, all of it at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from swarmcore.errors import OutcomeUnknown, SwarmError, Unavailable
from swarmcore.process.children import communicate
from tests.e2e.registers import Writer
from tests.e2e.swarm import Swarm

pytestmark = [pytest.mark.lab, pytest.mark.root]

MANAGERS = ("m1", "m2", "m3")


async def nft(swarm: Swarm, host: str, rules: str) -> None:
    inside = f"--net={swarm.lab.network.path(host)}"
    process = await asyncio.create_subprocess_exec("nsenter", inside, "nft", rules)
    await communicate(process)
    assert process.returncode == 0


def containers(tasks: list[dict[str, Any]]) -> dict[str, int]:
    return {task["ID"]: task["Status"]["ContainerStatus"]["PID"] for task in tasks}


async def test_containers_survive_the_kill_of_their_daemon_and_are_adopted(swarm: Swarm) -> None:
    await swarm.create("web", 5)
    before = containers(await swarm.until_running("web", 5))
    await swarm.lab.kill(["w2"], daemon_only=True)
    await swarm.lab.restart(["w2"])
    await swarm.until_ready(["w2"], "m1")
    assert containers(await swarm.until_running("web", 5)) == before


async def test_the_replicas_of_a_dead_worker_run_elsewhere(swarm: Swarm) -> None:
    await swarm.create("web", 5)
    await swarm.until_running("web", 5)
    dead = (await swarm.nodes())["w1"]["ID"]
    await swarm.lab.kill(["w1"])

    async def moved() -> bool:
        running = await swarm.running("web")
        return len(running) == 5 and all(task["NodeID"] != dead for task in running)

    await swarm.until(moved, "five replicas without w1")

    async def down() -> bool:
        return bool((await swarm.nodes())["w1"]["Status"]["State"] == "down")

    await swarm.until(down, "w1 to be down")


async def test_a_silent_worker_loses_its_replicas_and_shuts_them_down_when_it_is_back(swarm: Swarm) -> None:
    await swarm.create("web", 5)
    await swarm.until_running("web", 5)
    silent = (await swarm.nodes())["w2"]["ID"]
    swarm.lab.pause(["w2"])

    async def moved() -> bool:
        running = [t for t in await swarm.tasks("web") if t["DesiredState"] == "running"]
        settled: list[bool] = [t["Status"]["State"] == "running" and t["NodeID"] != silent for t in running]
        return sum(settled) == 5

    await swarm.until(moved, "five replicas without w2")
    swarm.lab.resume(["w2"])

    async def ended() -> bool:
        mine = [
            t for t in await swarm.tasks("web") if t["NodeID"] == silent and t["DesiredState"] != "running"
        ]
        return all(t["Status"]["State"] not in ("running", "starting") for t in mine)

    await swarm.until(ended, "the outdated tasks of w2 to end")


async def test_no_acknowledged_write_is_lost_with_the_leader(swarm: Swarm) -> None:
    leader = await swarm.leader()
    others = [name for name in MANAGERS if name != leader]
    acknowledged: list[str] = []
    stop = asyncio.Event()

    async def write(host: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                await swarm.create(f"{host}-{number}", 0, host=host)
            except OutcomeUnknown:
                continue
            except SwarmError:
                await asyncio.sleep(0.05)
                continue
            acknowledged.append(f"{host}-{number}")

    async with asyncio.TaskGroup() as group:
        for host in others:
            group.create_task(write(host))

        async def some() -> bool:
            return len(acknowledged) >= 10

        await swarm.until(some, "the first writes")
        await swarm.lab.kill([leader])
        reached = len(acknowledged)

        async def more() -> bool:
            return len(acknowledged) >= reached + 10

        await swarm.until(more, "writes through another manager")
        stop.set()
    assert await swarm.leader(others) != leader
    for host in others:
        kept = {service["Spec"]["Name"] for service in await swarm.get(host, "/services")}
        assert set(acknowledged) <= kept
    await swarm.lab.restart([leader])
    await swarm.until_ready([leader], others[0])

    async def caught_up() -> bool:
        kept = {service["Spec"]["Name"] for service in await swarm.get(leader, "/services")}
        return set(acknowledged) <= kept

    await swarm.until(caught_up, f"{leader} to catch up")


async def test_a_manager_without_majority_refuses_writes_and_stale_reads(swarm: Swarm) -> None:
    await swarm.create("before", 0)
    cut = await swarm.leader()
    await swarm.lab.partition([cut])
    rest = [name for name in MANAGERS if name != cut]

    async def others_lead() -> bool:
        await swarm.create("during", 0, host=rest[0])
        return True

    await swarm.until(others_lead, "the majority to go on")
    with pytest.raises(Unavailable):
        await swarm.get(cut, "/services")
    with pytest.raises(Unavailable):
        await swarm.create("lost", 0, host=cut)
    await swarm.lab.heal()

    async def healed() -> bool:
        names = {service["Spec"]["Name"] for service in await swarm.get(cut, "/services")}
        return names == {"before", "during"}

    await swarm.until(healed, f"{cut} to follow again")


async def test_a_leader_that_takes_no_new_connections_gives_the_lead_up(swarm: Swarm) -> None:
    """Its old connections go on: raft alone would keep it, and workers that lose theirs would find no leader."""
    old = await swarm.leader()
    await swarm.create("before", 0)
    rule = "tcp dport 2377 tcp flags & (syn | ack) == syn drop"
    ruleset = f"table inet corp {{ chain in {{ type filter hook input priority 0; {rule}; }}; }}"
    await nft(swarm, old, ruleset)
    try:
        others = [name for name in MANAGERS if name != old]

        async def handed_over() -> bool:
            return await swarm.leader(others) != old

        await swarm.until(handed_over, "another manager to lead")
        await swarm.create("after", 0, host=others[0])
        names = {service["Spec"]["Name"] for service in await swarm.get(old, "/services")}
        assert names == {"before", "after"}, "it follows over the connections that it makes itself"
        assert "the lead is given up" in swarm.host(old).log_file.read_text()
    finally:
        await nft(swarm, old, "delete table inet corp")


async def test_the_whole_lab_comes_back_with_its_services(swarm: Swarm) -> None:
    await swarm.create("web", 3)
    await swarm.create("db", 1, host="m2")
    await swarm.until_running("web", 3)
    await swarm.until_running("db", 1)
    hosts = [host.name for host in swarm.lab.hosts()]
    await swarm.lab.kill(hosts)
    await swarm.lab.restart(hosts)
    await swarm.until_ready(hosts, "m3")
    assert {s["Spec"]["Name"] for s in await swarm.get("m2", "/services")} == {"web", "db"}
    # Not on three hosts: replicas go to the hosts that come back first.
    await swarm.until_running("web", 3)
    await swarm.until_running("db", 1)


async def test_a_worker_is_promoted_and_demoted(swarm: Swarm) -> None:
    code, out, err = await swarm.cli("m1", "node", "promote", "w1")
    assert (code, err) == (0, "")

    async def manages() -> bool:
        return (await swarm.get("w1", "/info"))["Swarm"]["ControlAvailable"] is True

    await swarm.until(manages, "w1 to be a manager")
    await swarm.create("through-w1", 0, host="w1")
    assert len([n for n in (await swarm.nodes("w1")).values() if n.get("ManagerStatus")]) == 4
    code, out, err = await swarm.cli("m2", "node", "demote", "w1")
    assert (code, err) == (0, "")

    async def works() -> bool:
        return (await swarm.get("w1", "/info"))["Swarm"]["ControlAvailable"] is False

    await swarm.until(works, "w1 to be a worker")
    assert len([n for n in (await swarm.nodes()).values() if n.get("ManagerStatus")]) == 3
    with pytest.raises(Unavailable, match="Worker nodes"):
        await swarm.get("w1", "/services")


async def test_the_leader_can_be_demoted_and_promoted_again(swarm: Swarm) -> None:
    leader = await swarm.leader()
    other = next(name for name in MANAGERS if name != leader)
    code, _, err = await swarm.cli(other, "node", "demote", leader)
    assert (code, err) == (0, "")
    assert await swarm.leader([other]) != leader

    async def worker() -> bool:
        return (await swarm.get(leader, "/info"))["Swarm"]["ControlAvailable"] is False

    await swarm.until(worker, f"{leader} to be a worker")
    code, _, err = await swarm.cli(other, "node", "promote", leader)
    assert (code, err) == (0, "")

    async def manager() -> bool:
        return (await swarm.get(leader, "/info"))["Swarm"]["ControlAvailable"] is True

    await swarm.until(manager, f"{leader} to be a manager again")


async def test_writes_happen_once_while_managers_come_go_freeze_and_die(swarm: Swarm) -> None:
    """A lost answer is followed by another try, and each user still gets the answer to what was done once."""
    writers = [Writer(swarm, f"register{n}", MANAGERS, n) for n in range(6)]
    over = asyncio.Event()
    running = asyncio.gather(*(writer.until(over) for writer in writers))

    async def progress() -> None:
        reached = [writer.acknowledged + 3 for writer in writers]

        async def all_went_on() -> bool:
            return all(w.acknowledged >= wanted for w, wanted in zip(writers, reached, strict=True))

        await swarm.until(all_went_on, "every writer to go on")

    try:
        await progress()
        code, _, err = await swarm.cli("m1", "node", "promote", "w1")
        assert (code, err) == (0, "")
        await progress()
        frozen = await swarm.leader()
        swarm.lab.pause([frozen])
        await progress_without(swarm, frozen, writers)
        swarm.lab.resume([frozen])
        for writer in writers:
            writer.hosts = MANAGERS
        await progress()
        dead = await swarm.leader()
        await swarm.lab.kill([dead], daemon_only=True)
        await progress_without(swarm, dead, writers)
        await swarm.lab.restart([dead])
        await swarm.until_ready([dead], "m1")
        for writer in writers:
            writer.hosts = MANAGERS
        await progress()
        code, _, err = await swarm.cli("m1", "node", "demote", "w1")
        assert (code, err) == (0, "")
        await progress()
    finally:
        over.set()
        swarm.lab.resume(MANAGERS)
        await running
    for writer in writers:
        for host in MANAGERS:
            await writer.look(host)
    assert [fault for writer in writers for fault in writer.faults] == []


async def progress_without(swarm: Swarm, missing: str, writers: list[Writer]) -> None:
    """Writers that have just asked the missing manager wait for it; the others go on elsewhere."""
    for writer in writers:
        writer.hosts = [name for name in MANAGERS if name != missing]
    reached = sum(writer.acknowledged for writer in writers) + 10

    async def went_on() -> bool:
        return sum(writer.acknowledged for writer in writers) >= reached

    await swarm.until(went_on, f"writes without {missing}")
