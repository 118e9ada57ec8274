"""Our answers beside dockerd's, field by field: each difference has its reason in docs/engine-differences.md."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from msgspec.structs import replace

from pyswarmd.engine.app import build_app
from swarmcore.model.base import Platform
from swarmcore.model.node import EngineDescription, NodeDescription, NodeState, NodeStatus
from swarmcore.model.resources import Resources
from tests.fakes.manager_node import ManagerNode
from tests.pyswarmd.engine.reference import RECORDED, Shape, answers, decoded
from worker.agent.describe import PLUGINS

pytestmark = pytest.mark.root  # an image is unpacked

TABLE = Path(__file__).resolve().parents[3] / "docs/engine-differences.md"
_ROW = re.compile(r"\| `(?P<probe>[^`]+)` \| `(?P<field>[^`]+)` \|")
# What the kernel of the machine lacks: both say it in a list, or null where it lacks nothing.
_OF_THE_HOST = {("GET /info", ".Warnings"), ("GET /info", ".Warnings[]")}
Difference = tuple[str, str]  # of which probe, in which field


async def _ours(folder: Path) -> dict[str, tuple[int, Shape]]:
    node = await ManagerNode(folder).begin()
    async with node.bench.store.update() as tx:  # what its agent would tell
        (own,) = list(tx.nodes)
        (cluster,) = list(tx.clusters)
        description = NodeDescription(
            hostname="m1",
            platform=Platform(architecture="x86_64", os="linux"),
            resources=Resources(nano_cpus=1, memory_bytes=1),
            engine=EngineDescription(engine_version="1", labels={}, plugins=PLUGINS),
            tls_info=cluster.tls_info,
        )
        status = NodeStatus(state=NodeState.READY, addr="10.0.0.1")
        tx.nodes.put(replace(own, description=description, status=status))
    async with TestClient(TestServer(build_app(node))) as client:  # type: ignore[arg-type]

        async def ask(method: str, path: str, body: Any) -> tuple[int, Any]:
            sent = {"data": body} if isinstance(body, bytes) else {"json": body}
            async with client.request(method, path, **sent) as response:
                return await decoded(response)

        return await answers(ask)


def _differences(theirs: dict[str, tuple[int, Shape]], ours: dict[str, tuple[int, Shape]]) -> set[Difference]:
    found: set[Difference] = set()
    for probe, (status, fields) in theirs.items():
        our_status, our_fields = ours[probe]
        if our_status != status:
            found.add((probe, f"status {status}, ours {our_status}"))
        for field in fields.keys() | our_fields.keys():
            if fields.get(field) != our_fields.get(field) and (probe, field) not in _OF_THE_HOST:
                found.add((probe, field))
    return found


async def test_every_difference_is_in_the_table_and_the_table_has_no_other(tmp_path: Path) -> None:
    recorded: dict[str, tuple[int, Shape]] = json.loads(RECORDED.read_text())
    found = _differences(recorded, await _ours(tmp_path))
    checked = TABLE.read_text().partition("## What the shapes do not show")[0]
    rows = {(row["probe"], row["field"]) for row in _ROW.finditer(checked)}
    used = {row for row in rows if any(_covers(row, difference) for difference in found)}
    unexplained = {each for each in found if not any(_covers(row, each) for row in rows)}
    assert sorted(unexplained) == [], "mend them, or give them a row with the reason"
    assert sorted(rows - used) == [], "these do not differ (any more)"


def _covers(row: Difference, difference: Difference) -> bool:
    """A `*` in a row stands for anything; brackets are themselves."""
    return all(
        fnmatchcase(text, pattern.replace("[", "[[]")) for text, pattern in zip(difference, row, strict=True)
    )
