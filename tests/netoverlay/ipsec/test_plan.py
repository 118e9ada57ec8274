"""Associations and policies between hosts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netoverlay.ipsec.plan import RingKey, association, protection, sending_key

KEYS = tuple(RingKey(tag=tag, secret=bytes([tag]) * 16) for tag in (1, 2, 3))
HOSTS = ("10.0.0.1", "10.0.0.2", "10.0.0.3")


def test_the_second_newest_key_sends() -> None:
    assert sending_key(KEYS).tag == 2
    assert sending_key(KEYS[:2]).tag == 1
    assert sending_key(KEYS[:1]).tag == 1


def test_without_keys_nothing_is_protected() -> None:
    assert not protection(HOSTS[0], HOSTS[1:], (), 4789).associations


@given(st.integers(3, 200))
def test_a_host_that_is_one_rotation_behind_still_understands(newest: int) -> None:
    """What one host sends, the other receives, also while only one of them has heard of the newest key."""
    ring = [RingKey(tag=t, secret=bytes([t]) * 16) for t in range(newest - 2, newest + 1)]
    rotated = [*ring[1:], RingKey(tag=newest + 1, secret=bytes([newest + 1]) * 16)]
    for mine, theirs in ((ring, rotated), (rotated, ring)):
        sent = protection(HOSTS[0], [HOSTS[1]], mine, 4789)
        received = protection(HOSTS[1], [HOSTS[0]], theirs, 4789)
        (policy,) = sent.policies
        (used,) = [a for a in sent.associations if a.source == HOSTS[0] and a.spi == policy.spi]
        assert used in received.associations


def test_no_two_directions_share_a_key_or_a_number() -> None:
    pairs = [(a, b) for a in HOSTS for b in HOSTS if a != b]
    made = [association(a, b, key) for a, b in pairs for key in KEYS]
    assert len({a.key for a in made}) == len(made)
    assert len({(a.target, a.spi) for a in made}) == len(made)
    assert all(a.spi >= 256 for a in made)
    assert all(len(a.key) == 20 for a in made)


def test_a_key_never_shows_in_a_repr() -> None:
    secret = KEYS[0].secret
    assert str(secret) not in repr(KEYS[0])
    made = association(HOSTS[0], HOSTS[1], KEYS[0])
    assert str(made.key) not in repr(made)


def test_ipv6_hosts_are_protected_as_well() -> None:
    found = protection("fd00::1", ["fd00::2"], KEYS, 4789)
    assert len(found.associations) == 4
    assert len(found.policies) == 1
