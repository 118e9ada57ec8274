"""Numbers from outside: `int` would take more, and take longer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmcore.text.numbers import INT64_MAX, UINT64_MAX, whole


@given(st.integers(0, UINT64_MAX), st.integers(0, 40))
def test_every_number_is_read_with_any_zeros_before_it(number: int, zeros: int) -> None:
    assert whole("0" * zeros + str(number), UINT64_MAX) == number


@given(st.integers(0, 200), st.integers(0, 100), st.integers(0, 100))
def test_bounds_belong_to_it(number: int, least: int, most: int) -> None:
    expected = number if least <= number <= most else None
    assert whole(str(number), most, least) == expected


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "+1", "-1", "1_0", "²", "٣", "0x10", "1e3", "1.0", "１", "1\n", "\0"]
)
def test_only_the_ten_digits_make_one(text: str) -> None:
    assert whole(text, INT64_MAX) is None


def test_very_many_digits_are_refused_and_never_converted() -> None:
    """Python itself raises ValueError above 4300."""
    assert whole("9" * 100_000, INT64_MAX) is None
    assert whole(str(INT64_MAX + 1), INT64_MAX) is None
    assert whole("0" * 100_000 + "7", INT64_MAX) == 7
