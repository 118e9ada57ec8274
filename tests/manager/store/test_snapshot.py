"""The store as bytes: what is written is read, by this version and after it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.store.snapshot import FORMAT, Image, decode_entry, dump, encode_entry, load
from manager.store.store import Store
from manager.store.tables import SCHEMAS, View
from swarmcore.model.base import Object
from swarmcore.model.task import TaskSpec
from tests.fakes.raft import StepClock, solo_store
from tests.manager.store.objects import node, secret, service, task

OBJECTS: tuple[tuple[str, Object], ...] = (
    ("services", service("s1")),
    ("tasks", task("t1", node_id="n1")),
    ("tasks", task("t2", slot=2)),
    ("nodes", node("n1")),
    ("secrets", secret("x1", "key")),
)
WRITES = st.lists(
    st.sampled_from(OBJECTS).flatmap(
        lambda pair: st.sampled_from([(pair[0], pair[1].id, pair[1]), (pair[0], pair[1].id, None)])
    ),
    max_size=6,
)


@given(st.integers(0, 2**62), WRITES)
def test_an_entry_is_read_as_it_was_written(base: int, writes: list[tuple[str, str, Object | None]]) -> None:
    entry = decode_entry(encode_entry(base, writes))
    assert entry.base == base and entry.outcomes == ()
    assert [(write.table, write.id, write.new()) for write in entry.writes] == writes


async def filled(*names: str) -> View:
    store, _ = solo_store()
    async with store.update() as tx:
        for number, name in enumerate(names):
            tx.put(service(f"s{number}", name))
            tx.put(task(f"t{number}", f"s{number}"))
    return store.view()


def content(tables: dict[str, Any]) -> dict[str, list[Object]]:
    return {schema.name: list(tables[schema.name]) for schema in SCHEMAS}


async def test_a_restored_store_iterates_as_the_original() -> None:
    view = await filled("zebra", "ant", "mole")
    index, tables, _ = load(dump(view))
    assert index == view.index
    assert content(tables) == {schema.name: list(view.table(schema.name)) for schema in SCHEMAS}
    assert [each.spec.name for each in tables["services"]] == ["zebra", "ant", "mole"]
    assert [each.id for each in tables["services"].find("name", "ANT")] == ["s1"]


async def test_a_restored_task_shares_its_services_spec() -> None:
    store, _ = solo_store()
    async with store.update() as tx:
        tx.put(service("s1"))
        tx.put(replace(task("t1"), spec=TaskSpec()))
    _, tables, _ = load(dump(store.view()))
    (restored,), (web,) = tables["tasks"], tables["services"]
    assert restored.spec is web.spec.task_template


async def test_the_same_state_is_the_same_bytes() -> None:
    view = await filled("web")
    index, tables, _ = load(dump(view))
    assert dump(View(index=index, **tables)) == dump(view)


def test_a_snapshot_of_another_format_is_refused() -> None:
    raw = msgspec.msgpack.decode(dump(Store(StepClock()).view()), type=Image)
    newer = msgspec.msgpack.encode(msgspec.structs.replace(raw, format=FORMAT + 1))
    with pytest.raises(ValueError, match="made by another pyswarm version"):
        load(newer)


@pytest.mark.parametrize("raw", [b"", b"\xc0", b"x" * 50, dump(Store(StepClock()).view())[:-3]])
def test_what_is_no_snapshot_is_not_restored(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        load(raw)


def test_a_table_of_a_newer_version_is_left_out() -> None:
    raw = msgspec.msgpack.decode(dump(Store(StepClock()).view()))
    raw["tables"]["novelties"] = [{"id": "a"}]
    _, tables, _ = load(msgspec.msgpack.encode(raw))
    assert set(tables) == {schema.name for schema in SCHEMAS}
