"""The agent on a host that is in trouble: no error that passes ends it, and the leader hears what is wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from netoverlay.netlink.wire import NetlinkError
from swarmcore.model.task import TaskState
from swarmcore.rpc.messages.session import DescriptionUpdate
from tests.worker.agent.conftest import A, Host, Leader
from tests.worker.sample import task, until
from tests.worker.small_disk import small_disk
from worker.tasks.state_db import StateDb

S = TaskState


@pytest.fixture
async def troubled(tmp_path: Path) -> AsyncIterator[Host]:
    made = Host(tmp_path)
    yield made
    await made.tasks.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", "128k") as folder:
        yield folder


def faults_told(leader: Leader) -> list[str]:
    return [message.description.fault for message in leader.got(DescriptionUpdate)]


@pytest.mark.parametrize(
    "error",
    [
        NetlinkError(errno.ENOBUFS),
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        KeyError("a fault of ours"),
    ],
    ids=["netlink", "descriptors", "a fault"],
)
async def test_a_node_that_cannot_describe_itself_at_first_tries_again(
    troubled: Host, error: Exception
) -> None:
    troubled.undescribable = error
    async with troubled.agent():
        await until(lambda: "agent" in troubled.faults.counts)
        assert troubled.faults.text
        troubled.undescribable = None
        leader = await troubled.leader()
        await leader.full(task("t1"))
        await until(lambda: leader.states.get("t1") is S.RUNNING)


async def test_a_session_lives_on_while_the_node_cannot_be_described(
    troubled: Host, caplog: pytest.LogCaptureFixture
) -> None:
    async with troubled.agent(describe_period=0.01):
        leader = await troubled.leader()
        await leader.full(task("t1"))
        await until(lambda: leader.states.get("t1") is S.RUNNING)
        troubled.undescribable = NetlinkError(errno.ENOBUFS)
        await until(lambda: any("No buffer space" in fault for fault in faults_told(leader)))
        troubled.undescribable = None
        await until(lambda: faults_told(leader)[-1] == "")
        assert len(troubled.managers.sessions) == 1
    assert "ERROR" not in {record.levelname for record in caplog.records}


async def test_a_new_session_is_opened_with_the_last_description(troubled: Host) -> None:
    async with troubled.agent():
        first = await troubled.leader()
        await first.full()
        troubled.undescribable = NetlinkError(errno.ENOBUFS)
        await first.end.close()
        again = await troubled.leader()
        await again.full(task("t1"))
        await until(lambda: again.states.get("t1") is S.RUNNING)


async def test_a_fault_elsewhere_is_told_at_once(troubled: Host) -> None:
    async with troubled.agent():
        leader = await troubled.leader()
        await leader.full()
        await until(lambda: len(troubled.roots) == 1)
        troubled.faults.failed("renewer", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        await until(lambda: faults_told(leader) == ["renewer: [Errno 28] No space left on device"])
        troubled.faults.over("renewer")
        await until(lambda: faults_told(leader)[-1] == "")


async def test_after_a_damaged_database_the_leader_says_what_this_node_runs(troubled: Host) -> None:
    """Nothing is swept before: what runs and is still wanted goes on, untouched."""
    async with troubled.agent():
        leader = await troubled.leader()
        await leader.full(task("t1"), task("t2"))
        await until(lambda: leader.states == {"t1": S.RUNNING, "t2": S.RUNNING})
    (troubled.path / "worker.db").write_bytes(b"x" * 10_000)
    async with troubled.agent() as agent:
        leader = await troubled.leader()
        assert troubled.executor.running == {"t1", "t2"} and not troubled.executor.swept
        await leader.full(task("t1", state=S.RUNNING))
        await until(lambda: troubled.executor.swept == ["t2"])
        await until(lambda: len(agent.tasks) == 1)
    assert troubled.executor.running == {"t1"}
    assert troubled.executor.containers["t1"].log == ["prepare", "start"], "it was never touched"


@pytest.mark.root
async def test_a_full_disk_rejects_new_tasks_and_keeps_the_session_and_the_old_ones(small: Path) -> None:
    host = Host(small)
    async with host.agent(addresses=(A,)):
        leader = await host.leader()
        await leader.full(task("t1"))
        await until(lambda: leader.states.get("t1") is S.RUNNING)
        filler = small / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (4096, 512, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue
        many = [task(f"n{number}") for number in range(100)]
        await leader.assign(tasks=tuple(many))
        await until(lambda: {leader.states.get(each.id) for each in many} == {S.REJECTED})
        await until(lambda: any("full" in fault for fault in faults_told(leader)))
        filler.unlink()
        await until(lambda: not host.faults.text)
        await leader.assign(tasks=(task("later"),))
        await until(lambda: leader.states.get("later") is S.RUNNING)
        assert len(host.managers.sessions) == 1
    await host.tasks.close()
    assert host.executor.containers["t1"].log == ["prepare", "start"]
    db = StateDb(small / "worker.db")
    await db.open()
    assert set(db.tasks) == {"t1", "later"}
    await db.close()
