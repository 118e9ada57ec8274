"""Imports go round in no circle, neither of files nor of the rooms of a package; and the graph that says so is true."""

from __future__ import annotations

import pytest

from tests.arch.graph import circles, files, first_sentence, inside, modules, rooms
from tests.arch.limits import faults


def test_no_files_import_each_other() -> None:
    assert faults("circles-of-files") == []


def test_no_rooms_import_each_other() -> None:
    assert faults("circles-of-rooms") == []


def test_packages_import_each_other_in_one_direction() -> None:
    packages: dict[str, set[str]] = {}
    for room, targets in rooms().items():
        packages.setdefault(room.partition(".")[0], set()).update(t.partition(".")[0] for t in targets)
    assert circles({name: frozenset(targets - {name}) for name, targets in packages.items()}) == []


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": "b", "b": "c", "c": ""}, []),
        ({"a": "b", "b": "a"}, [("a", "b")]),
        ({"a": "b", "b": "c", "c": "bd", "d": "e", "e": "d"}, [("b", "c"), ("d", "e")]),
        ({"a": "bc", "b": "d", "c": "d", "d": "a"}, [("a", "b", "c", "d")]),
    ],
    ids=["a chain", "a pair", "two circles, one behind the other", "one circle, two ways round"],
)
def test_circles_are_found(graph: dict[str, str], found: list[tuple[str, ...]]) -> None:
    assert circles({name: frozenset(targets) for name, targets in graph.items()}) == found


def test_imports_are_read_in_every_way_they_are_written() -> None:
    """An import for types alone, one inside of a function, `from room import file`."""
    graph = files()
    assert "swarmcore.errors" in graph["swarmcore.ids"]
    assert "manager.raft.interfaces" in graph["manager.raft.core"]
    assert "pyswarmd.daemon" in graph["pyswarmd.cli.daemon"]
    assert "swarmcore.rpc" not in {target for targets in graph.values() for target in targets}


def test_rooms_are_folders_and_files_of_a_root() -> None:
    assert modules()["manager.store.tx"].room == "manager.store"
    assert modules()["swarmcore.rpc.messages.ca"].room == "swarmcore.rpc.messages"
    assert modules()["swarmcore.errors"].room == "swarmcore.errors"
    assert {"manager", "worker", "pyswarmd"}.isdisjoint(rooms())
    assert "swarmcore.rpc" in inside("swarmcore", rooms())


@pytest.mark.parametrize(
    ("doc", "sentence"),
    [
        ("One.\n\nMore.", "One."),
        ("Reads `a.py` and\nthen `b.py`. More.", "Reads `a.py` and then `b.py`."),
        ("No end", "No end"),
        ("Rules, e.g. those of names. More.", "Rules, e.g. those of names."),
    ],
)
def test_the_first_sentence_of_a_docstring(doc: str, sentence: str) -> None:
    assert first_sentence(doc) == sentence
