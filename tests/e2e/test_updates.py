"""Rolling updates of real containers: one after the other, and back again when the new ones fail."""

from __future__ import annotations

from typing import Any

import pytest

from pyswarmd.lab.demo_image import DEMO_REFERENCE
from tests.e2e.swarm import Swarm

pytestmark = [pytest.mark.lab, pytest.mark.root]
SECOND = 10**9


def spec(order: str, **container: Any) -> dict[str, Any]:
    config = {"Parallelism": 1, "Monitor": SECOND, "FailureAction": "rollback", "Order": order}
    return {
        "Name": "web",
        "TaskTemplate": {
            "ContainerSpec": {"Image": DEMO_REFERENCE, "StopGracePeriod": SECOND, **container},
            "RestartPolicy": {"Condition": "any", "Delay": SECOND // 10},
        },
        "Mode": {"Replicated": {"Replicas": 3}},
        "UpdateConfig": config,
        "RollbackConfig": config,
    }


async def update(swarm: Swarm, wanted: dict[str, Any]) -> None:
    version = (await swarm.get("m1", "/services/web"))["Version"]["Index"]
    await swarm.post("m1", "/services/web/update", wanted, version=version)


async def until_state(swarm: Swarm, wanted: str) -> None:
    async def reached() -> bool:
        status = (await swarm.get("m1", "/services/web")).get("UpdateStatus") or {}
        return bool(status.get("State") == wanted)

    await swarm.until(reached, f"the update to be {wanted}")


@pytest.mark.parametrize("order", ["stop-first", "start-first"])
async def test_an_update_replaces_one_task_after_the_other(swarm: Swarm, order: str) -> None:
    await swarm.post("m2", "/services/create", spec(order))
    before = {task["ID"] for task in await swarm.until_running("web", 3)}
    least = 3

    async def watch_until_completed() -> bool:
        nonlocal least
        least = min(least, len(await swarm.running("web")))
        status = (await swarm.get("m1", "/services/web")).get("UpdateStatus") or {}
        return bool(status.get("State") == "completed")

    await update(swarm, spec(order, Env=["COLOUR=blue"]))
    await swarm.until(watch_until_completed, "the update to be completed")
    after = await swarm.until_running("web", 3)
    assert all(task["Spec"]["ContainerSpec"]["Env"] == ["COLOUR=blue"] for task in after)
    assert not before & {task["ID"] for task in after}
    assert least >= (3 if order == "start-first" else 2)


async def test_a_failing_update_is_rolled_back_and_harms_one_slot_only(swarm: Swarm) -> None:
    await swarm.post("m3", "/services/create", spec("stop-first"))
    before = {task["ID"] for task in await swarm.until_running("web", 3)}
    await update(swarm, spec("stop-first", Command=["/nothere"]))
    await until_state(swarm, "rollback_completed")
    after = await swarm.until_running("web", 3)
    assert len(before & {task["ID"] for task in after}) == 2
    service = await swarm.get("m1", "/services/web")
    assert "Command" not in service["Spec"]["TaskTemplate"]["ContainerSpec"]


async def test_a_start_first_update_whose_tasks_crash_at_once_costs_no_old_task(swarm: Swarm) -> None:
    good = spec("start-first")
    good["UpdateConfig"] = {**good["UpdateConfig"], "Monitor": 10 * SECOND}
    await swarm.post("m1", "/services/create", good)
    before = {task["ID"] for task in await swarm.until_running("web", 3)}
    crashing = spec("start-first", Command=["/bin/sh", "-c", "sleep 0.2; exit 1"])
    await update(swarm, {**crashing, "UpdateConfig": good["UpdateConfig"]})
    await until_state(swarm, "rollback_completed")
    assert {task["ID"] for task in await swarm.until_running("web", 3)} == before


async def test_a_port_of_its_host_passes_from_a_task_to_its_successor(swarm: Swarm) -> None:
    """On one node, where the port is free only because the one before has ended."""
    wanted = spec("stop-first")
    wanted["TaskTemplate"]["Placement"] = {"Constraints": ["node.hostname==w1"]}
    wanted["Mode"] = {"Replicated": {"Replicas": 1}}
    wanted["EndpointSpec"] = {"Ports": [{"TargetPort": 8080, "PublishedPort": 18081, "PublishMode": "host"}]}
    await swarm.post("m1", "/services/create", wanted)
    await swarm.until_running("web", 1)
    for value in ("A=1", "A=2"):
        wanted["TaskTemplate"]["ContainerSpec"]["Env"] = [value]
        await update(swarm, wanted)
        await until_state(swarm, "completed")
    await swarm.until_running("web", 1)
    assert [
        t["Status"].get("Err") for t in await swarm.tasks("web") if t["Status"]["State"] == "rejected"
    ] == []
