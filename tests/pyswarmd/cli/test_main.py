"""The command's own edge: usage, one line for an error, exit codes."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from pyswarmd.cli.main import build, main
from pyswarmd.config import PORT
from swarmcore.addresses import with_port
from swarmcore.errors import Invalid
from swarmcore.text import booleans


def exit_code(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code


@pytest.mark.parametrize("words", [[], ["nonsense"], ["join", "10.0.0.1:2377"], ["service", "create"]])
def test_wrong_usage_is_one_line_and_exit_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pyswarm") and line.endswith("--help)")


def test_nobody_behind_the_socket_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("-H", f"unix://{tmp_path}/none.sock", "node", "ls") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pyswarm: cannot reach the daemon at unix://")
    assert 'start it with "pyswarm daemon"' in line


def test_a_host_of_an_unknown_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("-H", "ssh://m1", "node", "ls") == 1
    assert "cannot use the host 'ssh://m1'" in capsys.readouterr().err


@pytest.mark.parametrize("word", booleans.TRUE)
def test_a_switch_is_on_for_every_yes_of_go(word: str) -> None:
    options = build().parse_args(["service", "create", f"--tty={word}", f"-d={word}", "app"])
    assert (options.tty, options.detach, options.image) == (True, True, "app")


@pytest.mark.parametrize("word", booleans.FALSE)
def test_a_switch_is_off_for_every_no_of_go(word: str) -> None:
    options = build().parse_args(["service", "create", "--tty", f"--tty={word}", f"-d={word}", "app"])
    assert (options.tty, options.detach, options.image) == (False, False, "app")


@pytest.mark.parametrize("word", ["yes", "no", "", "2", "tRUE"])
def test_a_switch_is_refused_for_any_other_word(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("service", "create", f"--read-only={word}", "app") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--read-only" in line


@pytest.mark.parametrize("text", ["1_000", " 5", "٣", "²", "1.5", "ten", "", "9" * 30, "--1"])
def test_a_number_is_refused_unless_it_is_one(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("service", "create", f"--replicas={text}", "app") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "invalid integer value" in line


def test_numbers_may_be_negative_where_that_means_something() -> None:
    assert build().parse_args(["service", "create", "--oom-score-adj=-5", "app"]).oom_score_adj == -5
    assert build().parse_args(["service", "create", "--replicas", "007", "app"]).replicas == 7


def test_help_shows_a_switch_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("service", "create", "--help") == 0
    shown = capsys.readouterr().out
    assert "--read-only" in shown and "--read-only=" not in shown


def test_a_lab_command_starts_after_the_dashes() -> None:
    options = build().parse_args(["lab", "--name", "x", "exec", "m1", "--", "ls", "-l", "--", "y"])
    assert isinstance(options, argparse.Namespace)
    assert options.host == "m1"
    assert [word for word in options.command if word != "--"] == ["ls", "-l", "y"]


@pytest.mark.parametrize(
    ("typed", "whole"),
    [
        ("10.0.0.1", "10.0.0.1:2377"),
        ("10.0.0.1:4000", "10.0.0.1:4000"),
        ("eth0", "eth0:2377"),
        ("fd00::1", "[fd00::1]:2377"),
        ("[fd00::1]", "[fd00::1]:2377"),
        ("[fd00::1]:4000", "[fd00::1]:4000"),
    ],
)
def test_an_address_without_a_port_gets_the_default_one(typed: str, whole: str) -> None:
    assert with_port(typed, PORT) == whole


@pytest.mark.parametrize("typed", ["10.0.0.1:", "10.0.0.1:0", "10.0.0.1:70000", "10.0.0.1:http", ":2377"])
def test_a_wrong_port_is_refused(typed: str) -> None:
    with pytest.raises(Invalid, match="invalid address"):
        with_port(typed, PORT)
