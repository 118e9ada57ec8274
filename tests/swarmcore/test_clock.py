from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmcore.clock import FORGOTTEN, TOLERANCE, WINDOW, AgreedClock

DAY = 86400.0
START = datetime(2031, 5, 1, tzinfo=UTC).timestamp()


class Host:
    """Time goes on for all alike; each host's clock is `wrong` by so many seconds."""

    def __init__(self, wrong: float = 0.0) -> None:
        self.elapsed = 0.0
        self.wrong = wrong

    def monotonic(self) -> float:
        return 5000.0 + self.elapsed

    def now(self) -> datetime:
        return datetime.fromtimestamp(START + self.elapsed + self.wrong, UTC)

    async def sleep(self, seconds: float) -> None:
        self.elapsed += seconds


def settled(clock: AgreedClock, host: Host) -> datetime:
    """What it shows once it has looked again at what was heard: it does so once in a second."""
    host.elapsed += 1.0
    return clock.now()


def true_time(host: Host) -> float:
    return START + host.elapsed


def error(clock: AgreedClock, host: Host) -> float:
    return abs(settled(clock, host).timestamp() - true_time(host))


@given(
    wrong=st.floats(-400 * DAY, 400 * DAY),
    good=st.lists(st.floats(-1, 1), min_size=2, max_size=6),
    delays=st.lists(st.floats(0, 5), min_size=2, max_size=30),
)
def test_a_clock_that_runs_against_the_majority_is_not_gone_by(
    wrong: float, good: list[float], delays: list[float]
) -> None:
    host = Host(wrong)
    clock = AgreedClock(host)
    for delay in delays:
        host.elapsed += 0.1
        for number, off in enumerate(good):
            clock.heard(f"m{number}", true_time(host) + off - delay)
    assert error(clock, host) <= TOLERANCE + 1 + min(delays) + 1e-3


@given(wrong=st.floats(-400 * DAY, 400 * DAY), others=st.integers(2, 6))
def test_one_wrong_clock_among_many_changes_nothing_for_the_others(wrong: float, others: int) -> None:
    host = Host()
    clock = AgreedClock(host)
    clock.heard("wrong", true_time(host) + wrong)
    for number in range(others - 1):
        clock.heard(f"m{number}", true_time(host))
    assert clock.now() == host.now() and clock.complaint == ""


def test_two_clocks_are_no_majority_but_their_difference_is_told() -> None:
    host = Host()
    clock = AgreedClock(host)
    clock.heard("other", true_time(host) - DAY)
    assert clock.now() == host.now()
    assert clock.complaint == "this host's clock and the other manager's are about 24 hours apart"


def test_it_stays_right_when_the_hosts_clock_is_set_while_nobody_can_be_heard() -> None:
    host = Host()
    clock = AgreedClock(host)
    for name in ("m1", "m2"):
        clock.heard(name, true_time(host))
    assert clock.complaint == ""
    host.elapsed += 3600
    host.wrong = -DAY
    assert error(clock, host) < 1
    assert clock.complaint == "this host's clock is about 24 hours behind those of the managers"
    host.wrong = 3 * DAY
    assert clock.complaint == "this host's clock is about 3 days ahead of those of the managers"
    host.elapsed += FORGOTTEN
    assert clock.now() == host.now(), "nobody goes by what was heard long ago"


def test_clocks_that_are_set_back_are_followed_after_a_while() -> None:
    host = Host()
    clock = AgreedClock(host)
    for name in ("m1", "m2"):
        clock.heard(name, true_time(host) + DAY)
    assert clock.ahead == pytest.approx(-DAY)
    for _ in range(30):
        host.elapsed += WINDOW / 10
        for name in ("m1", "m2"):
            clock.heard(name, true_time(host))
    assert clock.ahead == pytest.approx(0)


def test_a_worker_goes_by_what_the_leader_tells_and_a_manager_by_the_others() -> None:
    host = Host(wrong=100 * DAY)
    clock = AgreedClock(host)
    clock.told(true_time(host) - 0.2)
    assert error(clock, host) < 1
    for name in ("m1", "m2"):
        clock.heard(name, true_time(host) + 20)
    assert error(clock, host) == pytest.approx(20)
    clock.forget("m1")
    clock.forget("m2")
    assert error(clock, host) < 1


@given(nonsense=st.floats() | st.integers(-(10**30), 10**30))
def test_nonsense_changes_nothing_and_breaks_nothing(nonsense: float) -> None:
    host = Host()
    clock = AgreedClock(host)
    clock.told(nonsense)
    for name in ("m1", "m2"):
        clock.heard(name, nonsense)
    assert abs(clock.now() - host.now()) < timedelta(days=400 * 366 * 10)
    for number in range(1000):
        clock.heard(f"x{number}", true_time(host))
    assert len(clock._managers) <= 64
