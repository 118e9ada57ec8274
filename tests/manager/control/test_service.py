"""Services: created once, updated in sequence, rolled back, removed, and refused with one clear line."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from swarmcore.errors import (
    Conflict,
    FailedPrecondition,
    Invalid,
    NotFound,
    OutOfSequence,
    SwarmError,
    Unsupported,
)
from swarmcore.model.policy import Placement
from swarmcore.model.resources import Limit, ResourceRequirements, Resources
from swarmcore.model.service import ReplicatedService, ServiceMode, UpdateState, UpdateStatus
from swarmcore.rpc.messages.control import CreateService, RemoveService, UpdateService
from tests.manager.control.bench import Bench, spec


@pytest.fixture
async def bench() -> Bench:
    return await Bench().begin()


async def test_a_service_is_created_with_dockers_defaults(bench: Bench) -> None:
    service = await bench.create()
    assert service.spec.replicas == 1
    assert service.spec.mode.name == "replicated"
    assert service.spec_version.index == 1


async def test_a_service_without_a_name_gets_one(bench: Bench) -> None:
    await bench.control.carry_out(CreateService(id="x", spec=spec("")))
    (service,) = bench.store.view().services
    assert service.spec.name


async def test_asking_twice_with_one_id_creates_once(bench: Bench) -> None:
    request = CreateService(id="x", spec=spec())
    assert (await bench.control.carry_out(request)).id == (await bench.control.carry_out(request)).id == "x"
    assert len(bench.store.view().services) == 1


async def test_a_taken_name_is_a_conflict_in_any_case(bench: Bench) -> None:
    await bench.create("web")
    with pytest.raises(Conflict, match="service WEB already exists"):
        await bench.control.carry_out(CreateService(id="other", spec=spec("WEB")))
    assert len(bench.store.view().services) == 1


async def test_a_change_of_the_template_makes_a_new_spec_version_and_keeps_the_old_spec(bench: Bench) -> None:
    first = await bench.create()
    second = await bench.update(first, spec(image="app:2"))
    assert second.spec_version.index == 2
    assert second.previous_spec == first.spec
    assert second.spec.task_template.container.image == "app:2"


async def test_a_change_of_scale_or_labels_is_no_new_spec_version(bench: Bench) -> None:
    first = await bench.create()
    scaled = await bench.update(
        first, replace(first.spec, mode=ServiceMode(replicated=ReplicatedService(replicas=5)))
    )
    labelled = await bench.update(scaled, replace(scaled.spec, labels={"a": "b"}))
    assert (labelled.spec.replicas, labelled.spec.labels) == (5, {"a": "b"})
    assert labelled.spec_version == first.spec_version


async def test_sending_the_same_spec_back_is_a_new_version_of_the_service_alone(bench: Bench) -> None:
    first = await bench.create()
    second = await bench.update(first, spec())
    assert second.version.index > first.version.index
    assert replace(second, version=first.version, updated_at=first.updated_at) == first


async def test_empty_parts_are_kept_and_replace_nothing(bench: Bench) -> None:
    first = await bench.create()
    empty: dict[str, Any] = {
        "Placement": {},
        "Resources": {"Limits": {}, "Reservations": {}},
        "RestartPolicy": {},
    }
    second = await bench.update(first, spec(TaskTemplate=empty))
    assert second.spec.task_template.placement == Placement()
    assert second.spec.task_template.resources == ResourceRequirements(
        limits=Limit(), reservations=Resources()
    )
    assert second.spec_version == first.spec_version
    assert (await bench.update(second, spec())).spec_version == first.spec_version


async def test_sending_the_spec_of_a_paused_update_again_lets_it_go_on(bench: Bench) -> None:
    held = await bench.create()
    async with bench.store.update() as tx:
        tx.services.put(replace(held, update_status=UpdateStatus(state=UpdateState.PAUSED)))
    resumed = await bench.update(bench.service("web"), held.spec)
    assert resumed.update_status is None
    assert resumed.spec_version == held.spec_version


async def test_any_update_lets_a_paused_one_go_on_but_leaves_a_running_one_alone(bench: Bench) -> None:
    for state, after in ((UpdateState.ROLLBACK_PAUSED, None), (UpdateState.UPDATING, UpdateState.UPDATING)):
        held = await bench.create(str(state).replace("_", "-"))
        async with bench.store.update() as tx:
            tx.services.put(replace(held, update_status=UpdateStatus(state=state)))
        held = bench.service(held.spec.name)
        labelled = await bench.update(held, replace(held.spec, labels={"a": "b"}))
        assert (labelled.update_status and labelled.update_status.state) == after


async def test_a_new_template_ends_the_update_under_way(bench: Bench) -> None:
    held = await bench.create()
    async with bench.store.update() as tx:
        tx.services.put(replace(held, update_status=UpdateStatus(state=UpdateState.UPDATING)))
    assert (await bench.update(bench.service("web"), spec(image="app:2"))).update_status is None


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"TaskTemplate": {"ForceUpdate": 1}}, True),
        ({"TaskTemplate": {"Placement": {"Constraints": ["node.role==worker"]}}}, True),
        ({"TaskTemplate": {"Networks": [{"Target": "host"}]}}, True),
        ({"Networks": [{"Target": "host"}]}, True),
        ({"UpdateConfig": {"Parallelism": 2}}, False),
        ({"RollbackConfig": {"Parallelism": 2}}, False),
        ({"Labels": {"a": "b"}}, False),
        ({"Mode": {"Replicated": {"Replicas": 7}}}, False),
    ],
)
async def test_the_spec_version_counts_what_tasks_must_be_replaced_for(
    bench: Bench, fields: dict[str, Any], counts: bool
) -> None:
    first = await bench.create()
    changed = await bench.update(first, spec("web", **fields))
    assert changed.spec != first.spec
    assert changed.spec_version.index == (2 if counts else 1)


async def test_a_stale_version_is_out_of_sequence(bench: Bench) -> None:
    first = await bench.create()
    await bench.update(first, spec(image="app:2"))
    with pytest.raises(OutOfSequence, match="update out of sequence"):
        await bench.update(first, spec(image="app:3"))
    assert bench.service("web").spec.task_template.container.image == "app:2"


async def test_a_rollback_swaps_the_specs(bench: Bench) -> None:
    first = await bench.create()
    second = await bench.update(first, spec(image="app:2"))
    third = await bench.update(second, None, rollback=True)
    assert third.spec == first.spec
    assert third.previous_spec == second.spec
    assert third.spec_version.index == 3
    assert third.update_status is not None and third.update_status.state is UpdateState.ROLLBACK_STARTED


async def test_a_second_rollback_goes_forward_again(bench: Bench) -> None:
    first = await bench.create()
    second = await bench.update(first, spec(image="app:2"))
    third = await bench.update(second, None, rollback=True)
    assert (await bench.update(third, None, rollback=True)).spec == second.spec


async def test_a_rollback_of_the_scale_alone_replaces_no_task(bench: Bench) -> None:
    first = await bench.create()
    second = await bench.update(first, spec("web", Mode={"Replicated": {"Replicas": 5}}))
    third = await bench.update(second, None, rollback=True)
    assert third.spec.replicas == 1
    assert (third.spec_version, third.update_status) == (first.spec_version, None)


async def test_a_rollback_needs_the_current_version(bench: Bench) -> None:
    first = await bench.create()
    await bench.update(first, spec(image="app:2"))
    with pytest.raises(OutOfSequence):
        await bench.update(first, None, rollback=True)


async def test_nothing_to_roll_back_to_is_said(bench: Bench) -> None:
    with pytest.raises(FailedPrecondition, match="does not have a previous spec"):
        await bench.update(await bench.create(), None, rollback=True)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (spec("other"), "renaming services is not supported"),
        (spec("web", Mode={"Global": {}}), "only replicated services are"),
    ],
)
async def test_what_cannot_change_is_refused(bench: Bench, wanted: Any, words: str) -> None:
    first = await bench.create()
    with pytest.raises(SwarmError, match=words):
        await bench.update(first, wanted)
    assert bench.service("web") == first


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"TaskTemplate": {"ContainerSpec": {}}}, "image reference must be provided"),
        ({"TaskTemplate": {"Placement": {"Constraints": ["nonsense"]}}}, "invalid constraint 'nonsense'"),
        ({"TaskTemplate": {"Resources": {"Limits": {"NanoCPUs": 10}}}}, "invalid cpu value"),
        ({"TaskTemplate": {"Resources": {"Limits": {"MemoryBytes": 10}}}}, "Must be at least 4MiB"),
        ({"TaskTemplate": {"Resources": {"Limits": {"Pids": -1}}}}, "pids limit"),
        ({"TaskTemplate": {"RestartPolicy": {"Delay": -1}}}, "restart delay cannot be negative"),
        ({"UpdateConfig": {"MaxFailureRatio": 2}}, "not between 0 and 1"),
        ({"Mode": {"Global": {}}}, "mode global is not supported yet"),
        ({"Mode": {"Global": {}, "Replicated": {}}}, "a service has one mode"),
        (
            {"TaskTemplate": {"ContainerSpec": {"Image": "a", "DNSConfig": {"Nameservers": ["x"]}}}},
            "invalid name server 'x'",
        ),
        ({"Labels": {"pyswarm.ingress": "here"}}, "invalid label pyswarm.ingress='here'"),
        ({"Labels": {"pyswarm.drain": "soon"}}, "invalid label pyswarm.drain='soon'"),
        ({"Labels": {"pyswarm.antispoof": "no"}}, "invalid setting pyswarm.antispoof='no'"),
        ({"Labels": {"pyswarm.drain": "61m"}}, "invalid label pyswarm.drain='61m'"),
        ({"TaskTemplate": {"RestartPolicy": {"Window": -1}}}, "restart window cannot be negative"),
        ({"TaskTemplate": {"Resources": {"Reservations": {"MemoryBytes": -1}}}}, "Must be at least 4MiB"),
        ({"RollbackConfig": {"Delay": -1}}, "rollback delay cannot be negative"),
        ({"UpdateConfig": {"Monitor": -1}}, "update monitor cannot be negative"),
        ({"TaskTemplate": {"LogDriver": {"Name": "fluentd"}}}, "log driver fluentd is not supported yet"),
        ({"Labels": {"big": "x" * (1 << 20)}}, "larger than 1 MiB"),
    ],
)
async def test_a_bad_spec_is_refused_and_nothing_is_written(
    bench: Bench, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(Invalid, match=words) as refusal:
        await bench.create(**fields)
    assert "\n" not in str(refusal.value)
    assert len(bench.store.view().services) == 0


@pytest.mark.parametrize(
    ("mounts", "words"),
    [
        ([{"Type": "bind", "Source": "/a", "Target": "b"}], "invalid mount target 'b'"),
        ([{"Type": "tmpfs", "Target": "/b"}, {"Type": "tmpfs", "Target": "/b"}], "duplicate mount point: /b"),
        ([{"Type": "tmpfs", "Source": "/a", "Target": "/b"}], "a tmpfs has no source"),
        (
            [{"Type": "bind", "Source": "/a", "Target": "/b", "TmpfsOptions": {"SizeBytes": 1}}],
            "options of a tmpfs do not fit a mount of type bind",
        ),
        ([{"Type": "volume", "Source": "v", "Target": "/b"}], "mounts of type volume are not supported yet"),
    ],
)
async def test_a_mount_that_cannot_be_made_is_refused(bench: Bench, mounts: list[Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        await bench.create(TaskTemplate={"ContainerSpec": {"Image": "app:1", "Mounts": mounts}})


async def test_options_of_another_mount_type_that_say_nothing_are_taken(bench: Bench) -> None:
    mount = {"Type": "bind", "Source": "/a", "Target": "/b", "TmpfsOptions": {}, "VolumeOptions": {}}
    await bench.create(TaskTemplate={"ContainerSpec": {"Image": "app:1", "Mounts": [mount]}})


async def test_several_things_without_behaviour_are_told_in_one_line(bench: Bench) -> None:
    container = {"Image": "app:1", "Init": True, "OpenStdin": True}
    with pytest.raises(Unsupported) as refusal:
        await bench.create(TaskTemplate={"ContainerSpec": container})
    assert "Init" in str(refusal.value) and "OpenStdin" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "labels", [{"pyswarm.ingress": "local", "pyswarm.drain": "1h"}, {"pyswarm.drain": "0"}]
)
async def test_labels_that_pyswarm_acts_on_are_taken(bench: Bench, labels: dict[str, str]) -> None:
    assert (await bench.create(Labels=labels)).spec.labels == labels


async def test_an_update_to_a_bad_spec_changes_nothing(bench: Bench) -> None:
    first = await bench.create()
    with pytest.raises(Invalid):
        await bench.update(first, spec("web", TaskTemplate={"Placement": {"Constraints": ["nonsense"]}}))
    assert bench.service("web") == first


async def test_an_update_without_a_spec_is_refused(bench: Bench) -> None:
    with pytest.raises(Invalid, match="no spec"):
        await bench.update(await bench.create(), None)


async def test_of_services_created_together_under_one_name_one_is_made(bench: Bench) -> None:
    requests = [CreateService(id=f"x{n}", spec=spec("web")) for n in range(5)]
    answers = await asyncio.gather(*map(bench.control.carry_out, requests), return_exceptions=True)
    assert sum(isinstance(answer, Conflict) for answer in answers) == 4
    assert len(bench.store.view().services) == 1


async def test_of_updates_of_one_version_made_together_one_wins(bench: Bench) -> None:
    held = await bench.create()
    updates = (bench.update(held, spec(image=f"app:{n}")) for n in range(2, 6))
    answers = await asyncio.gather(*updates, return_exceptions=True)
    assert sum(isinstance(answer, OutOfSequence) for answer in answers) == 3
    assert bench.service("web").spec_version.index == 2


@pytest.mark.parametrize("name", ["-x", "x-", "a b", "a" * 64, "ü"])
async def test_a_bad_name_is_refused(bench: Bench, name: str) -> None:
    with pytest.raises(Invalid, match="name"):
        await bench.create(name)


async def test_a_service_is_found_by_id_name_and_prefix(bench: Bench) -> None:
    service = await bench.create("web")
    await bench.create("wide")
    for text in (service.id, "web", "WEB", "id-we"):
        held = bench.service("web")
        request = UpdateService(id=text, version=held.version.index, spec=service.spec)
        assert (await bench.control.carry_out(request)).id == service.id
    with pytest.raises(Invalid, match="ambiguous"):
        await bench.control.carry_out(RemoveService(id="id-w"))
    with pytest.raises(NotFound, match="service nothere not found"):
        await bench.control.carry_out(RemoveService(id="nothere"))
    with pytest.raises(NotFound):
        await bench.control.carry_out(UpdateService(id="nothere", version=1, spec=service.spec))


async def test_a_name_goes_before_the_beginning_of_an_id(bench: Bench) -> None:
    await bench.control.carry_out(CreateService(id="web0id", spec=spec("other")))
    await bench.create("web")
    assert (await bench.control.carry_out(RemoveService(id="web"))).id == "id-web"


async def test_a_removed_service_is_gone(bench: Bench) -> None:
    await bench.create()
    await bench.control.carry_out(RemoveService(id="web"))
    assert len(bench.store.view().services) == 0
