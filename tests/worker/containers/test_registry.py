"""Containers of this host that no task owns: made by a plan, found, kept by sweeps, adopted by the next daemon."""

from __future__ import annotations

import json

import pytest

from swarmcore.errors import Invalid, NotFound
from tests.worker.containers.conftest import IMAGE, Node
from worker.containers.plan import ContainerPlan
from worker.networks.plan import NetworkPlan

pytestmark = pytest.mark.root


def plan(name: str, *command: str) -> ContainerPlan:
    return ContainerPlan(name=name, image=IMAGE, arguments=command, networks=NetworkPlan(name=name))


async def test_a_container_of_nobody_is_found_kept_by_sweeps_and_adopted(node: Node) -> None:
    made = await node.containers.create(plan("box", "sleep", "1000"))
    await made.start()
    container_id = made.record.id
    assert node.containers.find("box") is node.containers.find(container_id[:10]) is made
    assert node.containers.owned_by("") is None
    await node.executor.sweep(())
    await node.replace()
    found = node.containers.find("box")
    assert (found.record.id, found.running, found.record.owner) == (container_id, True, "")
    await node.containers.remove(found)
    with pytest.raises(NotFound, match="No such container: box"):
        node.containers.find("box")
    assert not node.containers.has("box")


async def test_a_text_that_could_be_several_is_no_answer(node: Node) -> None:
    made = [await node.containers.create(plan("twin", "true")) for _ in range(2)]
    with pytest.raises(Invalid, match="ambiguous"):
        node.containers.find("twin")
    assert node.containers.has("twin")
    for container in made:
        await node.containers.remove(container)


async def test_a_record_of_the_version_before_is_adopted_and_swept(node: Node) -> None:
    """An upgrade: what ran goes on under the daemon that follows."""
    task = node.task(["sleep", "1000"])
    controller = await node.started(task)
    container = controller.container
    assert container is not None
    before, known = controller.status(), container.record
    running, watching, overlay = known.container, known.supervisor, known.mounts[0]
    assert running is not None
    assert watching is not None
    await node.close()
    old = {
        "id": known.id,
        "task_id": task.id,
        "name": known.name,
        "image_id": known.image_id,
        "phase": "running",
        "created": "2026-01-02T03:04:05Z",
        "stop_signal": 15,
        "grace_ns": 10_000_000_000,
        "runtime": "crun",
        "container": {"pid": running.pid, "started": running.started},
        "supervisor": {"pid": watching.pid, "started": watching.started},
        "started": "2026-01-02T03:04:06Z",
        "mounts": [
            {
                "source": "overlay",
                "target": overlay.target,
                "kind": "overlay",
                "cwd": overlay.cwd,
                "layers": overlay.layers,
                "own": overlay.own,
            }
        ],
    }
    (container.directory / "container.json").write_text(json.dumps(old))
    await node.adopt()
    adopted = await node.executor.controller(task, {}, {})
    assert adopted.status() == before
    await node.executor.sweep({task.id})
    assert adopted.container is not None
    assert adopted.container.running
    await node.executor.sweep(())
    assert adopted.status() is None
