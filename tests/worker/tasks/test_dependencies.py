"""Secrets and configs of this node's tasks: waited for, exact after a full assignment, filled in for each task."""

from __future__ import annotations

import asyncio

import pytest

from swarmcore.aio import owned
from swarmcore.errors import Invalid
from swarmcore.model.base import Driver
from swarmcore.model.secret import Config, ConfigSpec
from tests.worker.sample import DESCRIPTION, secret, task, with_config, with_secret
from worker.tasks.dependencies import Dependencies

NEEDS_SECRET = task(container=with_secret("x1"))
NEEDS_CONFIG = task("t2", container=with_config("c1"))


def config(config_id: str, data: bytes = b"blue", *, templated: bool = False) -> Config:
    templating = Driver(name="golang") if templated else None
    return Config(id=config_id, spec=ConfigSpec(name=config_id, data=data, templating=templating))


def test_a_task_is_complete_with_all_that_it_names() -> None:
    known = Dependencies()
    assert known.complete(task()) and not known.complete(NEEDS_SECRET)
    known.put([secret("x2")], [config("x1")])  # another secret, and a config of that id
    assert not known.complete(NEEDS_SECRET)
    known.put([secret("x1")], [])
    assert known.complete(NEEDS_SECRET) and not known.complete(NEEDS_CONFIG)


async def test_who_waits_goes_on_when_the_last_of_it_has_come() -> None:
    known = Dependencies()
    async with owned(known.wait_for(NEEDS_SECRET), "waits") as waiting:
        for each in ("x7", "x8"):
            known.put([secret(each)], [])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not waiting.done()
        known.put([secret("x1")], [])
        async with asyncio.timeout(10):
            await waiting
    await known.wait_for(NEEDS_SECRET)


def test_a_full_assignment_leaves_exactly_what_it_brought() -> None:
    known = Dependencies()
    known.put([secret("x1")], [config("c1")])
    known.reset([], [config("c1", b"red")])
    assert not known.complete(NEEDS_SECRET)
    assert known.of(NEEDS_SECRET, DESCRIPTION) == ({}, {})
    assert known.of(NEEDS_CONFIG, DESCRIPTION)[1]["c1"].spec.data == b"red"


def test_what_is_removed_is_gone_and_the_rest_is_not() -> None:
    known = Dependencies()
    known.put([secret("x1"), secret("x2")], [config("c1")])
    known.remove(["x2", "never-known"], ["x1"])
    assert known.complete(NEEDS_SECRET) and known.complete(NEEDS_CONFIG)
    known.remove(["x1"], ["c1"])
    assert not known.complete(NEEDS_SECRET) and not known.complete(NEEDS_CONFIG)


def test_a_task_gets_what_it_names_and_nobody_elses() -> None:
    known = Dependencies()
    known.put([secret("x1"), secret("x2", b"another's")], [config("c1")])
    secrets, configs = known.of(NEEDS_SECRET, DESCRIPTION)
    assert {key: value.spec.data for key, value in secrets.items()} == {"x1": b"hush"}
    assert configs == {}


def test_a_templated_one_is_filled_in_for_its_task_and_kept_as_it_was() -> None:
    known = Dependencies()
    known.put([secret("x1", b"{{.Task.ID}} {{env `COLOUR`}} {{env `NONE`}}", templated=True)], [])
    one, other = (
        known.of(task(task_id, container=with_secret("x1")), DESCRIPTION)[0]["x1"].spec.data
        for task_id in ("t1", "t2")
    )
    assert (one, other) == (b"t1 blue ", b"t2 blue ")


def test_what_is_not_templated_is_never_read_as_a_template() -> None:
    known = Dependencies()
    known.put([secret("x1", b"{{.Task.ID}}")], [])
    assert known.of(NEEDS_SECRET, DESCRIPTION)[0]["x1"].spec.data == b"{{.Task.ID}}"


def test_a_template_reads_no_secret_that_its_service_does_not_have() -> None:
    known = Dependencies()
    known.put([secret("x1", b"{{secret `other`}}", templated=True), secret("other", b"another's")], [])
    with pytest.raises(Invalid, match="does not have"):
        known.of(NEEDS_SECRET, DESCRIPTION)
