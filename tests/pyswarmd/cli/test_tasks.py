"""How lists of tasks are asked for and shown."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from pyswarmd.cli.tasks import print_tasks, query_filters
from swarmcore.errors import Invalid
from tests.fakes.engine import engine

ANSWERS = {
    "GET /services": [{"ID": "s1", "Spec": {"Name": "web"}}, {"ID": "s2", "Spec": {"Name": "agent"}}],
    "GET /nodes": [{"ID": "n1", "Description": {"Hostname": "m1"}}],
}


def task(number: int, *, service: str = "s1", slot: int = 1, at: int = 0, **more: Any) -> dict[str, Any]:
    status = {"State": "running", "Timestamp": "2026-01-01T00:00:00Z"} | more.pop("Status", {})
    return {
        "ID": f"task{number}".ljust(25, "x"),
        "ServiceID": service,
        "Slot": slot,
        "NodeID": "n1",
        "CreatedAt": f"2026-01-01T00:00:{at:02}.000000001Z",
        "DesiredState": "running",
        "Spec": {"ContainerSpec": {"Image": "app"}},
        "Status": status,
    } | more


def options(**more: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"no_trunc": False, "quiet": False, "format": None} | more)


def test_typed_filters_join_the_command_s_own() -> None:
    assert json.loads(query_filters(["name=web", "label=a=b", "name=db"], desired_state=["running"])) == {
        "desired-state": ["running"],
        "name": ["web", "db"],
        "label": ["a=b"],
    }


@pytest.mark.parametrize("text", ["web", "=web", ""])
def test_a_filter_needs_a_key_and_a_value(text: str) -> None:
    with pytest.raises(Invalid, match="invalid filter"):
        query_filters([text])


async def test_the_newest_task_of_a_slot_stands_above_its_predecessors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tasks = [
        task(1, slot=2),
        task(2, at=1, Status={"State": "failed", "Err": "task: non-zero exit (1) of a long command"}),
        task(3, at=2),
        task(4, service="s2", slot=0),
    ]
    async with engine(ANSWERS) as (_, client):
        await print_tasks(client, tasks, options(format="{{.Name}}|{{.ID}}|{{.Node}}|{{.Error}}"))
    assert capsys.readouterr().out.splitlines() == [
        "agent.n1|task4xxxxxxx|m1|",
        "web.1|task3xxxxxxx|m1|",
        ' \\_ web.1|task2xxxxxxx|m1|"task: non-zero exit (1) of a …"',
        "web.2|task1xxxxxxx|m1|",
    ]


async def test_quiet_prints_ids_and_no_trunc_prints_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    async with engine(ANSWERS) as (_, client):
        await print_tasks(client, [task(1)], options(quiet=True, no_trunc=True))
    assert capsys.readouterr().out == "task1".ljust(25, "x") + "\n"


async def test_a_task_without_a_node_or_of_a_removed_service_is_shown_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with engine(ANSWERS) as (_, client):
        await print_tasks(
            client, [task(1, service="gone", NodeID="")], options(format="{{.Name}} [{{.Node}}]")
        )
    assert capsys.readouterr().out == "gone.1 []\n"
