"""Which streams between managers may carry raft at all: those within one life of the swarm."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from manager.raft.fence import Fence, superseded
from swarmcore.errors import Superseded
from swarmcore.model.generation import FIRST, Generation

GENERATIONS = st.none() | st.builds(
    Generation, id=st.sampled_from(["", "a", "b"]), number=st.integers(0, 2), began=st.integers(0, 2)
)


def fence(own: Generation | None) -> Fence:
    return Fence(lambda: own)


@given(GENERATIONS, GENERATIONS)
def test_both_ends_of_a_stream_come_to_the_same_verdict(
    one: Generation | None, other: Generation | None
) -> None:
    assert fence(one).admits(other) is fence(other).admits(one)
    assert fence(one).admits(other) is (one is None or other is None or one == other)


@given(GENERATIONS, GENERATIONS)
def test_of_two_lives_exactly_one_end_is_left_behind_and_the_other_is_ahead(
    one: Generation | None, other: Generation | None
) -> None:
    here, there = fence(one), fence(other)
    assert here.left_behind_by(other) == there.ahead_of(one)
    assert here.ahead_of(other) == there.left_behind_by(one)
    if not here.admits(other):
        assert (here.left_behind_by(other) is None) is not (here.ahead_of(other) is None)


def test_an_end_names_what_it_is_of_at_that_moment() -> None:
    held: list[Generation | None] = [None]
    moving = Fence(lambda: held[0])
    assert moving.frame() is None and moving.admits(FIRST)
    held[0] = Generation(id="x", number=1)
    assert moving.frame() == held[0] and not moving.admits(FIRST)


def test_who_is_left_behind_hears_since_when_and_what_to_do() -> None:
    told = superseded(Generation(id="x", number=1, began=1_900_000_000))
    assert isinstance(told, Superseded)
    assert "recovered on 2030-03-17 17:46 UTC" in str(told) and "leave --force" in str(told)
