"""Waiting for a service: until it has what its spec wants, or until that will not come."""

from __future__ import annotations

from typing import Any

import pytest

from pyswarmd.cli.progress import wait_converged
from swarmcore.errors import FailedPrecondition
from tests.fakes.engine import Answer, InTurn, engine


def service(update: str = "", message: str = "", running: int = 1) -> list[dict[str, Any]]:
    found: dict[str, Any] = {
        "ID": "s1",
        "Spec": {"Name": "web"},
        "ServiceStatus": {"RunningTasks": running, "DesiredTasks": 1},
    }
    return [found | ({"UpdateStatus": {"State": update, "Message": message}} if update else {})]


TASK = {"Slot": 1, "CreatedAt": "1", "DesiredState": "running", "Status": {"State": "running"}}


def answers(services: Answer) -> dict[str, Answer]:
    return {"GET /services": services, "GET /tasks": [TASK]}


async def test_it_ends_when_the_tasks_run(capsys: pytest.CaptureFixture[str]) -> None:
    services = InTurn(service(running=0), service("updating"), service("completed"))
    async with engine(answers(services)) as (fake, client):
        await wait_converged(client, "s1")
    assert len(fake.queries("GET /services")) == 3
    assert "web: 1/1 running" in capsys.readouterr().err


async def test_very_many_tasks_are_counted_by_the_manager_and_not_listed_again_and_again() -> None:
    status = [{"RunningTasks": running, "DesiredTasks": 5000} for running in (0, 1000, 4999, 5000)]
    rounds = [[service()[0] | {"ServiceStatus": one}] for one in status]
    listed = [TASK] * 5000
    async with engine({"GET /services": InTurn(*rounds), "GET /tasks": listed}) as (fake, client):
        await wait_converged(client, "s1", quiet=True)
    assert len(fake.queries("GET /services")) == 4
    assert len(fake.queries("GET /tasks")) == 1


async def test_a_paused_update_is_an_error_and_not_waited_for() -> None:
    services = InTurn(service("updating"), service("paused", "update paused due to failure of task t1", 0))
    async with engine(answers(services)) as (_, client):
        with pytest.raises(FailedPrecondition, match="service web: update paused due to failure"):
            await wait_converged(client, "s1", quiet=True)


async def test_an_update_that_is_rolled_back_is_an_error_once_that_is_done() -> None:
    services = InTurn(
        service("updating"),
        service("rollback_started", "update rolled back due to failure of task t1"),
        service("rollback_completed", "rollback completed"),
    )
    async with engine(answers(services)) as (_, client):
        with pytest.raises(FailedPrecondition, match="service web: update rolled back due to failure"):
            await wait_converged(client, "s1", quiet=True)


async def test_a_rollback_that_was_asked_for_is_none() -> None:
    services = InTurn(
        service("rollback_started", "manually requested rollback"), service("rollback_completed")
    )
    async with engine(answers(services)) as (_, client):
        await wait_converged(client, "s1", quiet=True, rollback=True)


async def test_an_earlier_rollback_is_not_this_updates_failure() -> None:
    async with engine(answers(service("rollback_completed", "rollback completed"))) as (_, client):
        await wait_converged(client, "s1", quiet=True)


async def test_a_service_that_is_removed_meanwhile_is_not_waited_for() -> None:
    async with engine(answers(InTurn(service(running=0), []))) as (_, client):
        await wait_converged(client, "s1", quiet=True)
