"""What is kept of upstreams' answers, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netoverlay.dns.cache import Cache
from netoverlay.dns.response import Response, read_response
from tests.netoverlay.dns.sample import upstream_answer, wire


def response(ttl: int = 30) -> Response:
    return read_response(upstream_answer(wire("www.example"), f"www.example. {ttl} A 192.0.2.1"))


def test_an_answer_lives_as_long_as_its_ttl() -> None:
    cache = Cache(10, 1 << 20, 86_400)
    kept = response(30)
    cache.put("a", kept, 100.0)
    assert cache.get("a", 129.9) == (kept, 29)
    assert cache.get("a", 130.0) is None
    assert len(cache) == 0


def test_nothing_lives_longer_than_the_limit() -> None:
    cache = Cache(10, 1 << 20, 60)
    cache.put("a", response(3000), 0.0)
    assert cache.get("a", 59.0) is not None
    assert cache.get("a", 60.0) is None


def test_a_ttl_of_nothing_is_not_kept() -> None:
    cache = Cache(10, 1 << 20, 60)
    cache.put("a", response(0), 0.0)
    assert cache.get("a", 0.0) is None


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(2, 1 << 20, 60)
    cache.put("a", response(), 0.0)
    cache.put("b", response(), 0.0)
    cache.get("a", 1.0)
    cache.put("c", response(), 1.0)
    assert [key for key in "abc" if cache.get(key, 2.0)] == ["a", "c"]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60), st.booleans()), max_size=60))
def test_the_size_is_bounded_and_counted_right(steps: list[tuple[int, int, bool]]) -> None:
    cache = Cache(8, 10_000, 60)
    now = 0.0
    for key, ttl, put in steps:
        now += 1
        if put:
            cache.put(key, response(ttl), now)
        else:
            cache.get(key, now)
        assert len(cache) <= 8
        assert cache._used <= 10_000
    for key in range(31):
        cache.get(key, now + 100)
    assert (len(cache), cache._used) == (0, 0)
