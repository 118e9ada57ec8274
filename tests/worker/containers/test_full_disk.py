"""Containers on a disk that is really full: steps fail with the reason, ends are seen, nothing is left behind."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.worker.containers.conftest import Node
from tests.worker.small_disk import small_disk
from worker.tasks.controller import ContainerFailed

pytestmark = pytest.mark.root


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Node]:
    """A node whose containers have 512 KiB."""
    made = Node(tmp_path, f"pyswarm-test-{secrets.token_hex(4)}")
    folder = made.state_dir / "containers"
    folder.parent.mkdir(parents=True)
    with small_disk(folder, "512k"):
        await made.open()
        try:
            yield made
        finally:
            await made.executor.sweep(())
            await made.close()
        assert list(folder.iterdir()) == []
    assert made.leftovers() == []


def fill(node: Node) -> Path:
    filler = next((node.state_dir / "containers").iterdir()) / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(512))
            except OSError:
                return filler


async def test_a_start_that_the_disk_does_not_take_fails_with_the_reason(
    small: Node, caplog: pytest.LogCaptureFixture
) -> None:
    controller = await small.executor.controller(small.task(["sleep", "60"]), {}, {})
    await controller.prepare()
    fill(small)
    with pytest.raises(ContainerFailed, match="No space left on device"):
        await controller.start()
    await controller.remove()
    assert "ERROR" not in {record.levelname for record in caplog.records}


async def test_the_end_of_a_container_is_seen_though_it_cannot_be_written(
    small: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Its watch died of the write, and whoever stopped the task waited for ever."""
    task = small.task(["sleep", "60"])
    controller = await small.started(task)
    filler = fill(small)
    await controller.terminate()
    assert (await small.outcome(task)).code == 137
    filler.unlink()
    await small.replace()
    assert (await small.outcome(task)).code == 137, "the next daemon finds what the supervisor has left"
    assert "ERROR" not in {record.levelname for record in caplog.records}
