"""Hints can be followed: every command and flag that a text names is there. `tests/e2e/test_hints.py` runs them."""

from __future__ import annotations

import shlex

import pytest

from pyswarmd.cli.main import build
from tests.hints import hinted, parsers, texts

TOP = set(next(a for a in build()._actions if a.choices and not a.option_strings).choices or ())
# Of other programs, and of Docker where the sentence says so.
FOREIGN = {"--help"}


def words_of(command: str) -> list[str]:
    return shlex.split(command)[1:]


@pytest.mark.parametrize("command", sorted(hinted()))
def test_a_command_that_a_text_names_is_one(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        build().parse_args(words_of(command))
    except SystemExit:
        # A command without any argument is a name; with some of them it must be whole.
        bare = all(word.replace("-", "").islower() and not word.startswith("-") for word in words_of(command))
        assert bare and "arguments are required" in capsys.readouterr().err


def test_commands_are_named_in_quotes() -> None:
    """So that they can be told from the sentence, by people and by these tests."""
    assert {text.where: found for text in texts() if (found := text.unquoted(TOP))} == {}


def test_flags_that_a_text_names_are_of_some_command() -> None:
    known = FOREIGN | {
        name for p in parsers(build()) for action in p._actions for name in action.option_strings
    }
    unknown = {text.where: lost for text in texts() if (lost := [f for f in text.flags() if f not in known])}
    assert unknown == {}


def test_the_texts_are_found() -> None:
    assert {"pyswarm leave --force", "pyswarm join-token worker"} <= hinted()
