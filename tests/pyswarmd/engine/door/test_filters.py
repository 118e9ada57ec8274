"""The filters query value in both encodings."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyswarmd.engine.door.filters import flag, parse
from swarmcore.errors import Invalid

KNOWN = ("name", "label", "id")


@pytest.mark.parametrize("text", [None, "", "{}"])
def test_no_filters(text: str | None) -> None:
    assert parse(text, KNOWN) == {}


def test_docker_and_docker_py_say_the_same() -> None:
    assert parse('{"name":{"web":true,"db":true}}', KNOWN) == {"name": ["web", "db"]}
    assert parse('{"name":["web","db"]}', KNOWN) == {"name": ["web", "db"]}


def test_a_value_that_is_switched_off_does_not_count() -> None:
    assert parse('{"name":{"web":false,"db":true}}', KNOWN) == {"name": ["db"]}


def test_an_unknown_key_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(Invalid, match="invalid filter 'colour'") as failed:
        parse('{"colour":["red"]}', KNOWN)
    assert failed.value.hint == "known are id, label, name"


@pytest.mark.parametrize(
    "text", ["[", "null", "3", '["name"]', '{"name":"web"}', '{"name":[1]}', "[" * 9000], ids=lambda t: t[:12]
)
def test_wrong_filters_are_the_caller_s_fault(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text, KNOWN)


@given(st.dictionaries(st.sampled_from(KNOWN), st.lists(st.text(), unique=True)))
def test_both_encodings_always_agree(wanted: dict[str, list[str]]) -> None:
    maps = {key: dict.fromkeys(values, True) for key, values in wanted.items()}
    assert parse(json.dumps(maps), KNOWN) == parse(json.dumps(wanted), KNOWN) == wanted


@pytest.mark.parametrize("text", [None, "", "0", "no", "false", "False", "none", " "])
def test_what_go_takes_for_false(text: str | None) -> None:
    assert not flag(text)


@pytest.mark.parametrize("text", ["1", "true", "True", "yes", "x"])
def test_anything_else_is_true(text: str) -> None:
    assert flag(text)
