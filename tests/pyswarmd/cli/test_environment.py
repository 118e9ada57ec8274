"""Environment variables: typed, and from files of every making."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyswarmd.cli.environment import LARGEST_FILE, environment
from swarmcore.errors import Invalid, SwarmError

OWN = {"HOME": "/root", "EMPTY": ""}


def read(folder: Path, content: bytes) -> list[str]:
    file = folder / "env"
    file.write_bytes(content)
    return environment([], [str(file)], OWN)


@pytest.mark.parametrize(
    ("content", "entries"),
    [
        (b"\xef\xbb\xbfA=1\nB=2\n", ["A=1", "B=2"]),
        (b"A=1\r\nB=2\r\n", ["A=1", "B=2"]),
        (b"A=1  \nB= 2\t\n", ["A=1  ", "B= 2\t"]),
        (b"  A=1\n\t# no\n\n   \n#\n", ["A=1"]),
        (b"A=\x0b\xc2\x85\xe2\x80\xa8x\n", ["A=\x0b\x85\u2028x"]),
        (b"A=x\ry", ["A=x\ry"]),
        (b"A==1=2\nB=#2", ["A==1=2", "B=#2"]),
        (b'A="q"', ['A="q"']),
        (b"HOME\nEMPTY\nNOT_HERE\nA=", ["HOME=/root", "EMPTY=", "A="]),
        (b"", []),
    ],
    ids=["byte-order mark", "Windows", "blanks in values", "comments", "odd white space", "a lone return", "signs",
         "quotes", "values from here", "empty"],
)  # fmt: skip
def test_a_file_says_what_docker_reads(tmp_path: Path, content: bytes, entries: list[str]) -> None:
    assert read(tmp_path, content) == entries


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"A=1\nB=\xff\n", "line 2: not UTF-8"),
        ("A=ä".encode("utf-16"), "line 1: not UTF-8"),
        (b"A=\x00", "line 1: it holds a zero byte"),
        (b"\n A B=1", "line 2: the variable 'A B=1' has blanks in its name"),
        (b"A =1", "blanks in its name"),
        (b"=1", "has no name"),
        (b"A=" + b"x" * LARGEST_FILE, "larger than 1 MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_env_file_is_refused_with_its_place(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        read(tmp_path, content)


def test_a_file_without_end_is_not_read_to_it() -> None:
    with pytest.raises(Invalid, match="larger than 1 MiB"):
        environment([], ["/dev/zero"], OWN)


def test_a_directory_is_one_line() -> None:
    with pytest.raises(SwarmError, match="cannot read the env file /: Is a directory"):
        environment([], ["/"], OWN)


@given(st.binary(max_size=200))
def test_no_file_is_more_than_one_line_of_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        entries = read(folder, content)
    except Invalid as refusal:
        assert "\n" not in str(refusal)
    else:
        assert all(entry.partition("=")[0] for entry in entries)


def test_typed_variables_come_last_and_may_stay_without_a_value(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1")
    assert environment(["A=2", "HOME", "GONE"], [str(tmp_path / "env")], OWN) == [
        "A=1",
        "A=2",
        "HOME=/root",
        "GONE",
    ]
