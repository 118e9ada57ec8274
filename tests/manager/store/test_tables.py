"""Tables against plain dicts: rows, indexes that follow them, and views that never change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.store.tables import SCHEMAS, SECRETS, TASKS, Table, search_key
from swarmcore.model.secret import Secret
from swarmcore.model.task import Task
from tests.manager.store.objects import secret, task

IDS = st.sampled_from("abcd")
TASK = st.builds(
    task, IDS, st.sampled_from(["s1", "s2"]), st.integers(1, 2), st.sampled_from(["", "n1", "n2"])
)
STEPS = st.lists(st.tuples(st.just("set"), TASK) | st.tuples(st.just("remove"), IDS), max_size=20)


def agree(table: Table[Task], model: dict[str, Task]) -> None:
    assert list(table) == list(model.values()) and len(table) == len(model)
    for id in "abcd":
        assert table.get(id) == model.get(id) and (id in table) is (id in model)
    for index, key_of in TASKS.indexes.items():
        keys = {key for each in model.values() if (key := key_of(each)) is not None}
        for key in keys:
            expected = {each.id for each in model.values() if key_of(each) == key}
            found = [each.id for each in table.find(index, key)]
            assert sorted(found) == sorted(expected) and table.count(index, key) == len(expected)
        assert table.find(index, "no such key") == () and table.count(index, "no such key") == 0


@given(STEPS)
def test_rows_and_indexes_are_those_of_a_dict(steps: list[tuple[str, Task | str]]) -> None:
    table, model = Table(TASKS), dict[str, Task]()
    for _, what in steps:
        if isinstance(what, Task):
            table.set(what)
            model[what.id] = what
        elif what in model:
            table.remove(what)
            del model[what]
        agree(table, model)


@given(STEPS, st.lists(STEPS, max_size=3))
def test_what_was_handed_out_never_changes(
    first: list[tuple[str, Task | str]], more: list[list[tuple[str, Task | str]]]
) -> None:
    """A view is read by loops while later transactions edit what was made of it."""
    table, model = Table(TASKS), dict[str, Task]()
    handed: list[tuple[Table[Task], dict[str, Task]]] = []
    for steps in (first, *more):
        for _, what in steps:
            if isinstance(what, Task):
                table.set(what)
                model[what.id] = what
            elif what in model:
                table.remove(what)
                del model[what]
        handed.append((table.freeze(), dict(model)))
        table = table.thawed()
    for view, then in handed:
        agree(view, then)


def test_a_frozen_table_takes_nothing_and_one_that_nobody_holds_is_not_copied() -> None:
    table = Table(TASKS, [task("a")])
    assert table.thawed() is table
    table.freeze()
    with pytest.raises(AssertionError):
        table.set(task("b"))
    with pytest.raises(AssertionError):
        table.remove("a")
    assert table.thawed() is not table


@given(st.text(max_size=8))
def test_a_name_is_found_in_any_case(name: str) -> None:
    table: Table[Secret] = Table(SECRETS, [secret("x1", name)])
    for asked in (name, name.upper(), name.lower()):
        if search_key("name", asked) == search_key("name", name):
            assert [each.id for each in table.find("name", asked)] == ["x1"]
    assert table.find("name", f"{name}!") == ()
    if name.isascii():
        assert [each.id for each in table.find("name", name.upper())] == ["x1"]


def test_a_removed_row_is_found_by_nothing() -> None:
    table: Table[Secret] = Table(SECRETS, [secret("x1", "key"), secret("x2", "other")])
    table.remove("x1")
    assert table.find("name", "key") == () and [each.id for each in table] == ["x2"]
    with pytest.raises(KeyError):
        table.remove("x1")


def test_every_table_has_a_name_and_a_type_of_its_own() -> None:
    assert (
        len({schema.name for schema in SCHEMAS}) == len({schema.type for schema in SCHEMAS}) == len(SCHEMAS)
    )
