"""The log stream of the API, as people read it."""

from __future__ import annotations

from typing import Any

import pytest

from pyswarmd.cli.main import build
from swarmcore.errors import NotFound
from tests.fakes.engine import engine

DETAILS = "com.docker.swarm.node.id=n1,com.docker.swarm.service.id=s1,com.docker.swarm.task.id=t1"
ANSWERS: dict[str, Any] = {
    "GET /services/web": {"ID": "s1", "Spec": {"Name": "web", "TaskTemplate": {"ContainerSpec": {}}}},
    "GET /services/s1": {"ID": "s1", "Spec": {"Name": "web"}},
    "GET /tasks/t1": {"ID": "t1", "ServiceID": "s1", "Slot": 2, "Spec": {"ContainerSpec": {}}},
    "GET /nodes": [{"ID": "n1", "Description": {"Hostname": "m1"}}],
}
TERMINAL = {"ID": "s1", "Spec": {"Name": "web", "TaskTemplate": {"ContainerSpec": {"TTY": True}}}}


def frame(stream: int, text: str) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(text.encode()).to_bytes(4, "big") + text.encode()


async def run(answers: dict[str, Any], *words: str) -> int:
    options = build().parse_args(["service", "logs", *words])
    async with engine(ANSWERS | answers) as (_, client):
        return int(await options.run(client, options) or 0)


async def test_each_line_says_which_task_and_node_it_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    stream = frame(1, f"{DETAILS} hello\n") + frame(2, f"{DETAILS} oops\n")
    assert await run({"GET /services/s1/logs": stream}, "web") == 0
    shown = capsys.readouterr()
    assert shown.out == "web.2.t1@m1    | hello\n"
    assert shown.err == "web.2.t1@m1    | oops\n"


async def test_timestamps_stand_first(capsys: pytest.CaptureFixture[str]) -> None:
    stream = frame(1, f"2026-01-01T00:00:00Z {DETAILS} hello\n")
    await run({"GET /services/s1/logs": stream}, "-t", "web")
    assert capsys.readouterr().out == "2026-01-01T00:00:00Z web.2.t1@m1    | hello\n"


async def test_raw_lines_are_as_the_task_wrote_them(capsys: pytest.CaptureFixture[str]) -> None:
    await run({"GET /services/s1/logs": frame(1, "hello\n")}, "--raw", "web")
    assert capsys.readouterr().out == "hello\n"


async def test_a_task_s_logs_are_found_by_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    await run({"GET /tasks/t1/logs": frame(1, f"{DETAILS} hello\n")}, "t1")
    assert capsys.readouterr().out == "web.2.t1@m1    | hello\n"


async def test_the_output_of_a_terminal_has_no_frames(capsys: pytest.CaptureFixture[str]) -> None:
    stream = f"{DETAILS} one\r\n{DETAILS} two".encode()
    await run({"GET /services/web": TERMINAL, "GET /services/s1/logs": stream}, "web")
    assert capsys.readouterr().out == "web.2.t1@m1    | one\r\nweb.2.t1@m1    | two"


async def test_what_is_missing_is_said_on_stderr_and_by_the_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = frame(1, f"{DETAILS} hello\n") + frame(3, "warning: node m2 is down\n")
    assert await run({"GET /services/s1/logs": stream}, "web") == 1
    shown = capsys.readouterr()
    assert shown.out == "web.2.t1@m1    | hello\n"
    assert shown.err == "warning: node m2 is down\n"


async def test_an_unknown_name_is_reported_as_a_missing_service() -> None:
    with pytest.raises(NotFound, match="/services/nothing"):
        await run({}, "nothing")


async def test_a_very_long_line_in_parts_is_one_line_again(capsys: pytest.CaptureFixture[str]) -> None:
    other = DETAILS.replace("task.id=t1", "task.id=t2")
    parts = [
        (1, DETAILS, "a" * 5),
        (1, DETAILS, "b"),
        (1, DETAILS, "c\n"),
        (1, DETAILS, "open"),
        (2, DETAILS, "e\n"),
    ]
    parts += [(1, other, "other\n")]
    stream = b"".join(frame(number, f"{details} {text}") for number, details, text in parts)
    await run({"GET /services/s1/logs": stream}, "web")
    shown = capsys.readouterr()
    assert shown.out == "web.2.t1@m1    | aaaaabc\nweb.2.t1@m1    | open\nt2@m1    | other\n"
    assert shown.err == "web.2.t1@m1    | e\n"
