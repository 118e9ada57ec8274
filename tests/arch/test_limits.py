"""Files and functions stay small, every module has its test file, and the list of what is not so only shrinks."""

from __future__ import annotations

import ast
import textwrap

import pytest

from tests.arch.graph import ROOT
from tests.arch.limits import (
    RULES,
    dump,
    faults,
    function_lines,
    functions,
    listed,
    mirror_of,
    needless,
    shrunk,
)


def test_functions_stay_small() -> None:
    assert faults("lines-of-functions") == []


def test_every_module_has_its_test_file() -> None:
    assert faults("without-test") == []


@pytest.mark.parametrize("rule", RULES)
def test_the_list_of_exceptions_only_shrinks(rule: str) -> None:
    assert needless(rule) == [], "run: .venv/bin/python -m tests.arch.limits --shrink"


def test_the_list_is_as_the_command_writes_it() -> None:
    assert set(listed()) <= set(RULES)
    assert (
        dump({rule: listed().get(rule, {}) for rule in RULES})
        == (ROOT / "tests/arch/exceptions.toml").read_text()
    )


def test_shrinking_adds_nothing_and_lets_nothing_grow() -> None:
    allowed = {"gone": 50, "smaller": 60, "larger": 41}
    assert shrunk(allowed, {"smaller": 45, "larger": 70, "new": 90}) == {"smaller": 45, "larger": 41}


def lines(source: str) -> dict[str, int]:
    tree = ast.parse(textwrap.dedent(source))
    return {name: function_lines(node) for name, node in functions(tree)}


def test_docstrings_and_decorators_do_not_count() -> None:
    source = '''
        @decorator
        def one(
            argument: int,
        ) -> int:
            """What it
            is for."""
            # Why.
            return argument
    '''
    assert lines(source) == {"one": 5}


def test_what_is_defined_inside_counts_for_the_outer_one_too() -> None:
    source = """
        class Room:
            async def outer(self) -> None:
                def inner() -> int:
                    return 1

                inner()
    """
    assert lines(source) == {"Room.outer": 5, "Room.outer.inner": 2}


def test_a_test_file_lies_where_its_module_lies() -> None:
    there = mirror_of(ROOT / "swarmcore/rpc/messages/ca.py")
    assert there == ROOT / "tests/swarmcore/rpc/messages/test_ca.py"
