"""Containers and the daemon's file descriptors: refused in time, and each with its own limit."""

from __future__ import annotations

import resource

import pytest

from swarmcore.errors import FailedPrecondition
from tests.worker.containers.conftest import Node
from worker.runtime.descriptors import Descriptors, Limit

pytestmark = pytest.mark.root


async def test_a_container_that_would_take_the_last_ones_is_refused_with_the_reason(node: Node) -> None:
    await node.replace(descriptors=Descriptors(lambda: 1024, lambda: 900))
    with pytest.raises(FailedPrecondition, match="no file descriptors for another container: 900 of 1024"):
        await node.started(node.task("true"))
    assert node.containers.running == 0


async def test_containers_keep_the_limit_that_the_daemon_was_started_with(node: Node) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await node.replace(limit=Limit(1234, min(hard, 5678)))
    found = await node.run("ulimit -Sn; ulimit -Hn")
    assert found.out.split() == ["1234", str(min(hard, 5678))]
