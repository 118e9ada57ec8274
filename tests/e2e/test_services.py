"""Services on a lab of five hosts: placed apart, scaled, healed."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from pyswarmd.client import filters
from pyswarmd.lab.demo_image import DEMO_REFERENCE
from swarmcore.errors import Conflict, Invalid, NotFound
from tests.e2e.swarm import Swarm

pytestmark = [pytest.mark.lab, pytest.mark.root]


def pid_of(task: dict[str, Any]) -> int:
    return int(task["Status"]["ContainerStatus"]["PID"])


async def test_three_replicas_run_on_three_hosts(swarm: Swarm) -> None:
    await swarm.create("web", 3)
    tasks = await swarm.until_running("web", 3)
    assert len({task["NodeID"] for task in tasks}) == 3
    assert sorted(task["Slot"] for task in tasks) == [1, 2, 3]


async def test_scaling_up_to_fifty_and_down_again_leaves_three(swarm: Swarm) -> None:
    await swarm.create("web", 3)
    await swarm.until_running("web", 3)
    first = {task["ID"] for task in await swarm.running("web")}
    await swarm.scale("web", 50)
    tasks = await swarm.until_running("web", 50)
    assert first <= {task["ID"] for task in tasks}  # what runs is left alone
    nodes = [task["NodeID"] for task in tasks]
    assert {nodes.count(node) for node in set(nodes)} == {10}
    await swarm.scale("web", 3)

    async def only_three() -> bool:
        return len(await swarm.tasks("web")) == 3

    await swarm.until(only_three, "the other 47 tasks to be gone")
    assert len({task["NodeID"] for task in await swarm.until_running("web", 3)}) == 3


async def test_a_killed_container_is_replaced_in_its_slot(swarm: Swarm) -> None:
    await swarm.create("web", 3)
    before = {task["Slot"]: task for task in await swarm.until_running("web", 3)}
    os.kill(pid_of(before[2]), signal.SIGKILL)

    async def replaced() -> bool:
        now = {task["Slot"]: task["ID"] for task in await swarm.running("web")}
        return now.get(2) not in (None, before[2]["ID"]) and now.get(1) == before[1]["ID"]

    await swarm.until(replaced, "a new task in slot 2")
    failed = next(task for task in await swarm.tasks("web") if task["ID"] == before[2]["ID"])
    assert failed["Status"]["State"] == "failed"
    assert failed["Status"]["ContainerStatus"]["ExitCode"] == 137


async def test_drain_moves_tasks_and_pause_leaves_them(swarm: Swarm) -> None:
    await swarm.create("web", 5)
    await swarm.until_running("web", 5)
    node = (await swarm.nodes())["w1"]

    async def set_availability(value: str) -> None:
        fresh = (await swarm.nodes())["w1"]
        spec = fresh["Spec"] | {"Availability": value}
        await swarm.post("m1", f"/nodes/{node['ID']}/update", spec, version=fresh["Version"]["Index"])

    async def on_w1() -> int:
        return sum(1 for task in await swarm.running("web") if task["NodeID"] == node["ID"])

    await set_availability("pause")
    await swarm.scale("web", 10)
    await swarm.until_running("web", 10)
    assert await on_w1() == 1
    await set_availability("drain")

    async def moved() -> bool:
        return await on_w1() == 0 and len(await swarm.running("web")) == 10

    await swarm.until(moved, "w1 to be empty")


async def test_constraints_decide_where_tasks_run_and_say_so_when_nothing_fits(swarm: Swarm) -> None:
    spec = {
        "Name": "picky",
        "TaskTemplate": {
            "ContainerSpec": {"Image": DEMO_REFERENCE},
            "Placement": {"Constraints": ["node.role==worker"]},
        },
        "Mode": {"Replicated": {"Replicas": 4}},
    }
    await swarm.post("m2", "/services/create", spec)
    names = await swarm.node_names()
    assert {names[t["NodeID"]] for t in await swarm.until_running("picky", 4)} == {"w1", "w2"}
    spec |= {"Name": "nowhere"}
    spec["TaskTemplate"]["Placement"]["Constraints"] = ["node.labels.zone==moon"]  # type: ignore[index]
    await swarm.post("m1", "/services/create", spec)

    async def explained() -> bool:
        tasks = await swarm.tasks("nowhere")
        return bool(tasks) and all("no suitable node" in t["Status"].get("Err", "") for t in tasks)

    await swarm.until(explained, "the reason why nothing fits")


async def test_the_logs_of_all_replicas_come_through_any_manager(swarm: Swarm) -> None:
    await swarm.create(
        "talk", 3, Command=["/bin/sh", "-c", "echo out-$HOSTNAME; echo err >&2; exec sleep 1000"]
    )
    await swarm.until_running("talk", 3)
    for host in ("m1", "m2", "m3"):

        async def complete(host: str = host) -> bool:
            code, out, err = await swarm.cli(host, "service", "logs", "talk")
            return code == 0 and out.count("out-") == 3 and err.count("err") == 3

        await swarm.until(complete, f"three lines of output and of errors through {host}")


async def test_a_failing_service_is_restarted_with_its_delay_and_keeps_a_short_history(swarm: Swarm) -> None:
    spec = {
        "Name": "flaky",
        "TaskTemplate": {
            "ContainerSpec": {"Image": DEMO_REFERENCE, "Command": ["/bin/sh", "-c", "exit 3"]},
            "RestartPolicy": {"Condition": "on-failure", "Delay": 10**7, "MaxAttempts": 3},
        },
        "Mode": {"Replicated": {"Replicas": 1}},
    }
    await swarm.post("m1", "/services/create", spec)

    async def given_up() -> bool:
        tasks = await swarm.tasks("flaky")
        return len(tasks) == 4 and all(t["Status"]["State"] == "failed" for t in tasks)

    await swarm.until(given_up, "one try and three more")
    exits = {t["Status"]["ContainerStatus"]["ExitCode"] for t in await swarm.tasks("flaky")}
    assert exits == {3}


async def test_an_unknown_image_is_rejected_with_the_reason(swarm: Swarm) -> None:
    spec = {
        "Name": "ghost",
        "TaskTemplate": {
            "ContainerSpec": {"Image": "nobody/nothing:1"},
            "RestartPolicy": {"Condition": "none"},
        },
    }
    await swarm.post("m1", "/services/create", spec)

    async def rejected() -> bool:
        tasks = await swarm.tasks("ghost")
        return [t["Status"]["State"] for t in tasks] == ["rejected"] and "no such image" in tasks[0][
            "Status"
        ]["Err"].lower()

    await swarm.until(rejected, "the task to be rejected for its image")


async def test_wrong_requests_change_nothing_and_say_why(swarm: Swarm) -> None:
    await swarm.create("web", 1)
    with pytest.raises(Conflict, match="web"):
        await swarm.create("web", 1, host="m2")
    with pytest.raises(NotFound, match="nothere"):
        await swarm.get("m1", "/services/nothere")
    with pytest.raises(Invalid, match="nonsense"):
        await swarm.get("m1", "/services", filters=filters(nonsense=["x"]))
    unsupported = {
        "Name": "init",
        "TaskTemplate": {"ContainerSpec": {"Image": DEMO_REFERENCE, "Init": True}},
    }
    with pytest.raises(Invalid, match="not supported yet"):
        await swarm.post("m1", "/services/create", unsupported)
    assert [s["Spec"]["Name"] for s in await swarm.get("m3", "/services")] == ["web"]


async def test_the_command_line_creates_lists_scales_and_removes(swarm: Swarm) -> None:
    code, out, err = await swarm.cli(
        "m2", "service", "create", "-q", "--name", "cli", "--replicas", "2", DEMO_REFERENCE
    )
    assert (code, err) == (0, "")
    service = out.strip()
    code, out, _ = await swarm.cli("m3", "service", "ls")
    assert code == 0
    assert [line.split()[:4] for line in out.splitlines()[1:]] == [[service[:12], "cli", "replicated", "2/2"]]
    code, out, _ = await swarm.cli("m1", "service", "scale", "cli=4")
    assert code == 0
    code, out, _ = await swarm.cli("m1", "service", "ps", "cli", "-q")
    assert (code, len(out.split())) == (0, 4)
    code, out, err = await swarm.cli("w1", "service", "ls")
    assert (code, out) == (1, "")
    assert "not a swarm manager" in err
    assert ":2377" in err
    code, _, _ = await swarm.cli("m1", "service", "rm", "cli")
    assert code == 0
    code, _, err = await swarm.cli("m1", "service", "rm", "cli")
    assert code == 1
    assert err.count("\n") == 1
    code, _, _ = await swarm.cli("m1", "service", "scale")
    assert code == 2


async def test_writes_through_all_managers_at_once_are_all_kept(swarm: Swarm) -> None:
    names = [f"s{n}" for n in range(12)]
    await asyncio.gather(*(swarm.create(n, 0, host=f"m{i % 3 + 1}") for i, n in enumerate(names)))
    for host in ("m1", "m2", "m3"):
        assert sorted(s["Spec"]["Name"] for s in await swarm.get(host, "/services")) == sorted(names)
