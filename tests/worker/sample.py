"""Tasks, secrets and nodes that the worker's tests use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from swarmcore.model.base import Annotations, Driver
from swarmcore.model.container import ConfigReference, ContainerSpec, FileTarget, SecretReference
from swarmcore.model.node import NodeDescription
from swarmcore.model.secret import Secret, SecretSpec
from swarmcore.model.task import Task, TaskSpec, TaskState, TaskStatus
from worker.containers.plan import ContainerPlan
from worker.tasks.container_plan import container_plan

DESCRIPTION = NodeDescription(hostname="host1")


def task(
    task_id: str = "t1",
    *,
    desired: TaskState = TaskState.RUNNING,
    state: TaskState = TaskState.ASSIGNED,
    container: ContainerSpec | None = None,
    node_id: str = "n1",
    slot: int = 1,
) -> Task:
    return Task(
        id=task_id,
        spec=TaskSpec(container_spec=container or ContainerSpec(image="demo")),
        service_id="s1",
        slot=slot,
        node_id=node_id,
        status=TaskStatus(state=state),
        desired_state=desired,
        service_annotations=Annotations(name="web", labels={"tier": "front"}),
    )


def secret(secret_id: str = "x1", data: bytes = b"hush", *, templated: bool = False) -> Secret:
    templating = Driver(name="golang") if templated else None
    return Secret(id=secret_id, spec=SecretSpec(name=secret_id, data=data, templating=templating))


def with_secret(secret_id: str = "x1", target: str = "password") -> ContainerSpec:
    reference = SecretReference(file=FileTarget(name=target), secret_id=secret_id, secret_name=secret_id)
    return ContainerSpec(image="demo", env=("COLOUR=blue",), secrets=(reference,))


def with_config(config_id: str) -> ContainerSpec:
    reference = ConfigReference(file=FileTarget(name="/c"), config_id=config_id, config_name=config_id)
    return ContainerSpec(image="demo", configs=(reference,))


def plan(spec: ContainerSpec) -> ContainerPlan:
    """That of a task with this spec."""
    named = replace(spec, image=spec.image or "i")
    return container_plan(Task(id="t1", spec=TaskSpec(container_spec=named)))


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that some other task of this loop will make true."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)
