"""What tests of updates begin with, and wait for."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from swarmcore.model.policy import RestartPolicy, UpdateConfig
from swarmcore.model.service import ServiceSpec, UpdateState
from swarmcore.model.task import TaskState
from tests.manager.orchestrator.objects import service, template
from tests.manager.orchestrator.world import World

S = TaskState
U = UpdateState
Change = Callable[[ServiceSpec], ServiceSpec]


def image(name: str) -> Change:
    return lambda spec: replace(spec, task_template=template(name, spec.task_template.restart_policy))


async def started(
    world: World, replicas: int = 4, config: UpdateConfig | None = None, policy: RestartPolicy | None = None
) -> None:
    await world.nodes("n1", "n2")
    made = service(replicas, template("web:1", policy), update=config)
    await world.put(replace(made, spec=replace(made.spec, rollback_config=config)))


def in_state(world: World, state: UpdateState) -> Callable[[], bool]:
    def holds() -> bool:
        found = world.store.view().services.get("svc")
        return found is not None and found.update_status is not None and found.update_status.state is state

    return holds
