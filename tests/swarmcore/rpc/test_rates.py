from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmcore.rpc.rates import Rate


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time


def rate(clock: Hands, burst: int = 3, period: float = 5.0, remembered: int = 10) -> Rate:
    return Rate(clock, burst=burst, period=period, remembered=remembered)  # type: ignore[arg-type]


@given(
    burst=st.integers(1, 20),
    period=st.floats(0.5, 60),
    waits=st.lists(st.floats(0, 30), max_size=200),
)
def test_in_any_time_no_more_than_the_burst_and_what_was_earned(
    burst: int, period: float, waits: list[float]
) -> None:
    clock = Hands()
    asked = rate(clock, burst, period)
    taken = 0
    for wait in waits:
        clock.time += wait
        taken += asked.spend("n1") == 0.0
        assert taken <= burst + clock.time / period + 1e-6


def test_it_says_when_to_come_back_and_then_gives() -> None:
    clock = Hands()
    asked = rate(clock)
    assert [asked.spend("n1") for _ in range(4)] == [0.0, 0.0, 0.0, 5.0]
    assert asked.spend("n2") == 0.0, "others are not held up"
    clock.time += 4.9
    assert 0 < asked.spend("n1") < 0.2
    clock.time += 0.1
    assert asked.spend("n1") == 0.0
    clock.time += 3600
    assert [asked.spend("n1") for _ in range(4)][:3] == [0.0, 0.0, 0.0], "nothing is saved beyond the burst"


def test_its_memory_is_bounded() -> None:
    asked = rate(Hands())
    for number in range(1000):
        asked.spend(f"n{number}")
    assert len(asked._owed) == 10
