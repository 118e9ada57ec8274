"""The limit on replicas: a clear refusal at the door, and no trap for what was there before it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from swarmcore.errors import Invalid
from swarmcore.model.cluster import DEFAULT_MAX_REPLICAS, MAX_REPLICAS_LABEL
from swarmcore.model.service import ReplicatedService, ServiceMode
from swarmcore.rpc.messages.control import RemoveService, UpdateSwarm
from tests.manager.control.bench import Bench, spec


@pytest.fixture
async def bench() -> Bench:
    return await Bench().begin()


def of(replicas: int) -> ServiceMode:
    return ServiceMode(replicated=ReplicatedService(replicas=replicas))


async def limit(bench: Bench, text: str) -> None:
    (cluster,) = bench.store.view().clusters
    wanted = replace(cluster.spec, labels={MAX_REPLICAS_LABEL: text})
    await bench.control.carry_out(UpdateSwarm(version=cluster.version.index, spec=wanted))


@pytest.mark.parametrize("replicas", [DEFAULT_MAX_REPLICAS + 1, 10**9, 99_999_999_999, 2**63 - 1])
async def test_more_replicas_than_the_limit_are_refused_at_create_and_at_scale(
    bench: Bench, replicas: int
) -> None:
    with pytest.raises(Invalid, match=f"cannot have {replicas} replicas: this swarm allows 100000 a service"):
        await bench.create("many", Mode={"Replicated": {"Replicas": replicas}})
    held = await bench.create("web")
    with pytest.raises(Invalid, match="this swarm allows 100000"):
        await bench.update(held, replace(spec(), mode=of(replicas)))
    assert bench.service("web").spec.replicas == 1
    assert len(bench.store.view().services) == 1


async def test_the_limit_itself_is_allowed(bench: Bench) -> None:
    made = await bench.create(Mode={"Replicated": {"Replicas": DEFAULT_MAX_REPLICAS}})
    assert made.spec.replicas == DEFAULT_MAX_REPLICAS


async def test_the_limit_is_a_setting_of_the_swarm(bench: Bench) -> None:
    await limit(bench, "3")
    with pytest.raises(Invalid, match="allows 3 a service"):
        await bench.create(Mode={"Replicated": {"Replicas": 4}})
    await limit(bench, "4")
    assert (await bench.create(Mode={"Replicated": {"Replicas": 4}})).spec.replicas == 4


async def test_a_service_that_has_more_already_can_be_updated_scaled_down_and_removed(bench: Bench) -> None:
    held = await bench.create(Mode={"Replicated": {"Replicas": 50}})
    await limit(bench, "10")
    held = await bench.update(held, replace(spec(image="app:2"), mode=of(50)))
    held = await bench.update(held, replace(spec(), mode=of(40)))
    assert held.spec.replicas == 40
    with pytest.raises(Invalid, match="allows 10"):
        await bench.update(held, replace(spec(), mode=of(41)))
    await bench.control.carry_out(RemoveService(id=held.id))
    assert not len(bench.store.view().services)


async def test_a_rollback_does_not_pass_the_limit(bench: Bench) -> None:
    first = await bench.create(Mode={"Replicated": {"Replicas": 50}})
    second = await bench.update(first, replace(spec(), mode=of(2)))
    await limit(bench, "10")
    with pytest.raises(Invalid, match="allows 10"):
        await bench.update(second, None, rollback=True)


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "1e5", "1000001", "9" * 4000, "٣", "007"])
async def test_a_limit_that_is_no_sensible_number_is_refused(bench: Bench, text: str) -> None:
    with pytest.raises(Invalid, match=f"invalid label {MAX_REPLICAS_LABEL}"):
        await limit(bench, text)
