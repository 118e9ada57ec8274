"""The choice of a manager."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from swarmcore.errors import Unavailable
from swarmcore.rpc.peers import Remotes


def choices(remotes: Remotes, count: int = 1000) -> Counter[str]:
    return Counter(remotes.choose() for _ in range(count))


def test_all_are_equal_at_first() -> None:
    assert min(choices(Remotes(Random(1), ["a", "b", "c"])).values()) > 250


def test_a_manager_that_fails_is_seldom_chosen_but_not_never() -> None:
    remotes = Remotes(Random(1), ["a", "b"])
    for _ in range(20):
        remotes.observe("a", up=False)
    assert 0 < choices(remotes)["a"] < 100


def test_a_manager_that_is_back_is_chosen_again() -> None:
    remotes = Remotes(Random(1), ["a", "b"])
    for up in (False, False, False, True, True, True):
        remotes.observe("a", up=up)
    assert choices(remotes)["a"] > 350


def test_the_one_to_avoid_is_taken_only_if_there_is_no_other() -> None:
    remotes = Remotes(Random(1), ["a", "b"])
    assert remotes.choose(without={"a"}) == "b"
    assert remotes.choose(without={"a", "b"}) in ("a", "b")


def test_an_update_replaces_the_managers_and_never_leaves_none() -> None:
    remotes = Remotes(Random(1), ["a"])
    remotes.managers_are(["b", "c"])
    remotes.managers_are([])
    before = remotes.addresses
    assert before == ("b", "c")
    remotes.observe("d", up=False)
    remotes.observe("e", up=True)
    assert remotes.addresses == ("b", "c", "e")


def test_without_managers_there_is_no_choice() -> None:
    with pytest.raises(Unavailable, match="no manager's address"):
        Remotes(Random(1)).choose()
