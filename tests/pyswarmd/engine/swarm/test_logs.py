"""Log lines as the API sends them, and what a caller may ask for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from msgspec.structs import replace

from pyswarmd.engine.swarm.logs import details, frame, options_of, render
from swarmcore.errors import Invalid
from swarmcore.rpc.messages.logs import LogMessage, LogOptions, LogStream


def message(**more: Any) -> LogMessage:
    made = LogMessage(
        node_id="n1",
        service_id="s1",
        task_id="t1",
        stream=LogStream.STDOUT,
        timestamp=datetime(2026, 1, 31, 13, 0, 0, 5, tzinfo=timezone(timedelta(hours=1))),
        data=b"hello\n",
    )
    return replace(made, **more)


def asked(query: str) -> LogOptions:
    return options_of(make_mocked_request("GET", f"/services/web/logs?{query}"))


def test_a_frame_has_stream_and_length() -> None:
    assert frame(2, b"x" * 300) == b"\x02\x00\x00\x00\x00\x00\x01\x2c" + b"x" * 300


def test_details_are_sorted_and_escaped() -> None:
    assert details(message(node_id="a b,c")) == (
        "com.docker.swarm.node.id=a%20b%2Cc,com.docker.swarm.service.id=s1,com.docker.swarm.task.id=t1"
    )


def test_a_timestamp_is_utc_with_nanoseconds_and_stands_before_the_details() -> None:
    line = render(message(), timestamps=True, with_details=True)
    assert line.startswith(b"2026-01-31T12:00:00.000005000Z com.docker.swarm.node.id=n1,")
    assert line.endswith(b"task.id=t1 hello\n")
    assert render(message(), timestamps=False, with_details=False) == b"hello\n"


def test_options_of_the_docker_cli() -> None:
    assert asked("stdout=1&stderr=1&follow=1&tail=20&since=1767225600.000000001") == LogOptions(
        follow=True, since=datetime(2026, 1, 1, tzinfo=UTC), tail=20, stdout=True, stderr=True
    )


@pytest.mark.parametrize("query", ["stdout=true", "stdout=true&tail=all&since=0", "stdout=true&tail=&since="])
def test_without_limits_everything_is_sent(query: str) -> None:
    assert asked(query) == LogOptions(stdout=True, stderr=False)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "follow=1",
        "stdout=1&tail=-1",
        "stdout=1&tail=some",
        "stdout=1&tail=%C2%B2",
        "stdout=1&since=yesterday",
        "stdout=1&since=nan",
        "stdout=1&since=inf",
        "stdout=1&since=1e30",
    ],
)
def test_wrong_options_are_the_caller_s_fault(query: str) -> None:
    with pytest.raises(Invalid):
        asked(query)
