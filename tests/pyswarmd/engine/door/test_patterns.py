"""Patterns of `filters={"reference":…}`: Go's rules, and no pattern that takes long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyswarmd.engine.door.patterns import matches
from swarmcore.errors import Invalid


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("web", "web", True),
        ("web", "web:1", False),
        ("web:*", "web:1.2", True),
        ("*", "web", True),
        ("*", "shop/web", False),
        ("*/*", "shop/web", True),
        ("*/web:*", "host:5000/shop/web:1", False),
        ("w?b", "web", True),
        ("a?b", "a/b", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a]b", "/b", True),  # Go lets a negated class match a slash
        (r"a\*", "a*", True),
        (r"[\]]", "]", True),
        ("*b*c", "abbc", True),
        ("", "", True),
        ("", "a", False),
        ("a*", "a", True),
    ],
)
def test_a_pattern_fits_as_in_go(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


@pytest.mark.parametrize("pattern", ["[", "[]", "[^]", "[a", "[a-", "[a-]", "[-]", "\\", "x" * 2000])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid, match="pattern"):
        matches(pattern, "a")


@given(pattern=st.text("ab/*?", max_size=8), text=st.text("ab/", max_size=8))
def test_it_agrees_with_a_regular_expression(pattern: str, text: str) -> None:
    expression = "".join({"*": "[^/]*", "?": "[^/]"}.get(c, re.escape(c)) for c in pattern)
    assert matches(pattern, text) is (re.fullmatch(expression, text) is not None)


def test_many_stars_do_not_multiply() -> None:
    assert not matches("*a" * 500 + "b", "a" * 4000)
