"""Lives of a swarm: of two any two differ in which is newer, and everybody says the same."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from swarmcore.model.generation import FIRST, Generation

GENERATIONS = st.builds(
    Generation, id=st.text(max_size=3), number=st.integers(0, 3), began=st.integers(0, 2**37)
)


@given(GENERATIONS, GENERATIONS)
def test_of_two_different_ones_exactly_one_is_newer(one: Generation, other: Generation) -> None:
    assert one.newer_than(other) + other.newer_than(one) == (one != other)


@given(GENERATIONS, GENERATIONS, GENERATIONS)
def test_newer_than_newer_is_newer(a: Generation, b: Generation, c: Generation) -> None:
    if a.newer_than(b) and b.newer_than(c):
        assert a.newer_than(c)


@given(GENERATIONS, st.text(max_size=3), st.integers(0, 2**37))
def test_a_recovery_begins_a_newer_one_whatever_the_clock_shows(
    before: Generation, id: str, began: int
) -> None:
    after = before.next(id, datetime.fromtimestamp(began, UTC))
    assert after.newer_than(before) and (after.id, after.began) == (id, began)


def test_the_count_of_recoveries_goes_before_the_clock() -> None:
    twice = Generation(id="a", number=2, began=10)
    assert twice.newer_than(Generation(id="b", number=1, began=99))
    assert not FIRST.newer_than(FIRST) and twice.newer_than(FIRST)
    assert Generation(began=1_900_000_000).date == "2030-03-17 17:46 UTC"
