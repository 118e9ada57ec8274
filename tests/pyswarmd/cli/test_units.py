"""What people type for times, sizes, numbers and pairs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyswarmd.cli import units
from swarmcore.errors import Invalid


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("10s", 10 * 10**9),
        ("1m30s", 90 * 10**9),
        ("250ms", 250 * 10**6),
        ("1.5h", 5400 * 10**9),
        ("3us", 3000),
        ("3µs", 3000),
        ("7ns", 7),
        ("2160h", 90 * 24 * 3600 * 10**9),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, nanoseconds: int) -> None:
    assert units.duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "10", "s", "10 s", "-1s", "1d", "1m30", "ten seconds"])
def test_a_wrong_duration_says_how_to_write_one(text: str) -> None:
    with pytest.raises(Invalid, match="invalid duration") as failed:
        units.duration(text)
    assert "10s" in failed.value.hint


@given(st.lists(st.sampled_from(["1h", "2m", "3s", "40ms"]), min_size=1, max_size=6))
def test_the_parts_of_a_duration_add_up(parts: list[str]) -> None:
    assert units.duration("".join(parts)) == sum(units.duration(part) for part in parts)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("64M", 64 << 20),
        ("64m", 64 << 20),
        ("1.5g", 3 << 29),
        ("2KiB", 2048),
        ("5b", 5),
    ],
)
def test_sizes_count_in_powers_of_1024(text: str, size: int) -> None:
    assert units.size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "64X", "M", "1,5g", "nan"])
def test_a_wrong_size_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid size"):
        units.size(text)


def test_cpus_are_billionths() -> None:
    assert [units.cpus("0"), units.cpus("0.5"), units.cpus("2")] == [0, 500_000_000, 2 * 10**9]


@pytest.mark.parametrize("text", ["", "-0.5", "two", "nan", "inf"])
def test_a_wrong_number_of_cpus_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid number of CPUs"):
        units.cpus(text)


def test_pairs_split_at_the_first_equals_sign() -> None:
    assert units.pairs(["a=1", "b=x=y", "c="], "label") == {"a": "1", "b": "x=y", "c": ""}


def test_a_pair_without_a_value_is_empty_unless_one_is_needed() -> None:
    assert units.pairs(["a"], "label") == {"a": ""}
    with pytest.raises(Invalid, match="invalid sysctl 'a'"):
        units.pairs(["a"], "sysctl", value_needed=True)


def test_a_pair_without_a_key_is_refused() -> None:
    with pytest.raises(Invalid, match="invalid label '=1'"):
        units.pairs(["=1"], "label")


def test_an_option_without_a_value_is_true() -> None:
    assert units.options("type=bind,SRC=/a, readonly", "mount") == [
        ("type", "bind"),
        ("src", "/a"),
        ("readonly", "true"),
    ]


def test_quotes_keep_a_comma_in_a_value() -> None:
    assert units.options('"src=/a,b",dst=/c', "mount") == [("src", "/a,b"), ("dst", "/c")]


@pytest.mark.parametrize("text", ['"src=/a', "", 'a,"b"c'])
def test_quotes_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid mount"):
        units.options(text, "mount")


def test_an_empty_option_is_refused() -> None:
    with pytest.raises(Invalid, match="invalid mount"):
        units.options("type=bind,,dst=/a", "mount")
