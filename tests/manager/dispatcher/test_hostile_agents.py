"""Nothing that one worker sends ends the dispatcher, or keeps another worker from being heard."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.dispatcher.session import MAX_UNWRITTEN
from swarmcore.errors import Unavailable
from swarmcore.model.endpoint import PortConfig
from swarmcore.model.node import EngineDescription, NodeDescription, NodeState
from swarmcore.model.task import ContainerStatus, PortStatus, TaskState, TaskStatus
from swarmcore.rpc.messages.networks import NetworksApplied
from swarmcore.rpc.messages.session import (
    Acknowledged,
    DescriptionUpdate,
    Heartbeat,
    SessionEnd,
    StatusReport,
    StatusReports,
)
from tests.fakes.virtual_time import run_virtual
from tests.manager.dispatcher.bench import DESCRIPTION, Bench, bench, node, task

S = TaskState
# What just fits into a frame: no more arrives.
LARGE = replace(DESCRIPTION, engine=EngineDescription(labels={"a": "x" * ((16 << 20) - 1000)}))


async def still_serves(b: Bench) -> None:
    """Another node is heard as ever."""
    other = await b.connect("n1")
    await b.until(lambda: "t1" in other.tasks)
    await other.report(1, t1=S.RUNNING)
    await b.until(lambda: other.got(Acknowledged))
    assert b.task().status.state is S.RUNNING


def test_a_description_larger_than_an_entry_is_refused_for_its_own_session() -> None:
    async def story() -> None:
        async with bench([node(), node("n2"), task("t1")]) as b:
            hostile = await b.connect("n2", description=LARGE)
            assert hostile.closed and not hostile.received
            assert "at most 256 KiB" in b.ended[0]
            await b.until(lambda: "at most 256 KiB" in b.node("n2").status.message)
            assert b.node("n2").description is None
            await still_serves(b)
            mended = await b.connect("n2")
            await b.until(lambda: b.node("n2").status.state is NodeState.READY)
            assert b.node("n2").status.message == "" and not mended.closed

    run_virtual(story())


def test_a_description_that_grows_too_large_ends_its_own_session() -> None:
    async def story() -> None:
        async with bench([node(), node("n2"), task("t1")]) as b:
            hostile = await b.connect("n2")
            await hostile.end.send(DescriptionUpdate(description=LARGE))
            await b.until(lambda: hostile.got(SessionEnd))
            assert "at most 256 KiB" in hostile.got(SessionEnd)[0].reason
            await still_serves(b)

    run_virtual(story())


def test_of_very_many_descriptions_the_newest_is_stored_and_few_are_written() -> None:
    async def story() -> None:
        async with bench([node(), node("n2"), task("t1")]) as b:
            hostile = await b.connect("n2")
            await b.until(lambda: b.node("n2").status.state is NodeState.READY)
            before = len(b.raft.log)
            for number in range(1000):
                await hostile.end.send(DescriptionUpdate(description=NodeDescription(hostname=f"h{number}")))
            await b.until(lambda: b.node("n2").description == NodeDescription(hostname="h999"))
            assert len(b.raft.log) - before < 100
            await still_serves(b)

    run_virtual(story())


def test_a_worker_that_reports_more_than_can_be_written_is_cut_off() -> None:
    async def story() -> None:
        async with bench([node(), node("n2"), task("t1")]) as b:
            hostile = await b.connect("n2")
            one = StatusReport(task_id="nothing", status=TaskStatus(state=S.RUNNING))
            await hostile.end.send(StatusReports(number=1, reports=(one,) * (MAX_UNWRITTEN + 1)))
            await b.until(lambda: hostile.got(SessionEnd))
            await still_serves(b)

    run_virtual(story())


TIMES = st.one_of(
    st.none(),
    st.datetimes(),
    st.datetimes(timezones=st.just(timezone(timedelta(hours=14)))),
    st.sampled_from([datetime.min, datetime.max]),
)
NUMBERS = st.integers(-(2**63), 2**64 - 1)
NATURALS = st.integers(0, 2**64 - 1)
STATUSES = st.builds(
    TaskStatus,
    timestamp=TIMES,
    state=st.sampled_from(TaskState),
    message=st.text(),
    err=st.text() | st.just("e" * (1 << 20)),
    container_status=st.none()
    | st.builds(ContainerStatus, container_id=st.text(), pid=NUMBERS, exit_code=NUMBERS),
    port_status=st.builds(
        PortStatus, ports=st.lists(st.builds(PortConfig, published_port=NATURALS), max_size=3).map(tuple)
    ),
)
REPORTS = st.builds(StatusReport, task_id=st.sampled_from(["t1", "t2", "", "nothing"]), status=STATUSES)
DESCRIPTIONS = st.builds(
    NodeDescription,
    hostname=st.text(),
    data_path_addr=st.text() | st.just("10.0.0.9"),
    host_subnets=st.lists(st.text() | st.just("10.0.0.9/24"), max_size=3).map(tuple),
)
MESSAGES: st.SearchStrategy[Any] = st.one_of(
    st.builds(Heartbeat),
    st.builds(StatusReports, number=NUMBERS, reports=st.lists(REPORTS, max_size=4).map(tuple)),
    st.builds(DescriptionUpdate, description=DESCRIPTIONS),
    st.builds(NetworksApplied, number=NUMBERS),
)


@settings(max_examples=60, deadline=None)
@given(messages=st.lists(MESSAGES, max_size=8))
@pytest.mark.filterwarnings("error")
def test_whatever_a_worker_sends_others_are_served(messages: list[Any]) -> None:
    async def story() -> None:
        async with bench([node(), node("n2"), task("t1"), task("t2", node_id="n2")]) as b:
            hostile = await b.connect("n2")
            for message in messages:
                if hostile.closed or hostile.got(SessionEnd):
                    break
                try:
                    await hostile.end.send(message)
                except Unavailable:
                    break  # it was refused meanwhile
            await b.until(lambda: True)
            await still_serves(b)
            stamp = b.task("t2").status.timestamp
            assert stamp is None or stamp.tzinfo is not None

    run_virtual(story())
