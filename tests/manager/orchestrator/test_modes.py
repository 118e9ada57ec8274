"""Services of modes that the orchestrator does not know rest."""

from __future__ import annotations

from msgspec.structs import replace

from manager.orchestrator.modes import CHOOSE
from swarmcore.model.service import GlobalService, ServiceMode
from tests.manager.orchestrator.objects import service
from tests.manager.orchestrator.world import World, in_world


def test_a_service_of_an_unknown_mode_gets_no_tasks_and_keeps_no_other_from_its_own() -> None:
    assert set(CHOOSE) == {"replicated"}
    mode = ServiceMode(global_=GlobalService())

    async def story(world: World) -> None:
        await world.nodes("n1", "n2")
        made = service()
        await world.put(replace(made, id="other", spec=replace(made.spec, name="other", mode=mode)))
        await world.put(service(2))
        async with world.led():
            await world.until(lambda: len(world.running()) == 2)
            assert await world.is_quiet()
        assert {task.service_id for task in world.tasks()} == {"svc"}

    in_world(story)
