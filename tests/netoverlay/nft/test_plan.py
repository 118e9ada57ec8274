"""The way from one state of a table to another: new rules before old ones, and nothing that agrees is touched."""

from __future__ import annotations

from netoverlay.nft import expr, types
from netoverlay.nft.plan import Plans, plan
from netoverlay.nft.table import Base, Chain, Hook, NamedSet, Part, Rule, rule
from netoverlay.nft.types import IPV4
from netoverlay.nft.wire import Family

ACCEPT, DROP = rule(expr.verdict(types.ACCEPT)), rule(expr.verdict(types.DROP))
BASE = Base(kind="filter", hook=Hook.INPUT, priority=0)
KEY, OTHER = types.ip("192.0.2.1"), types.ip("192.0.2.2")


def state(*rules: Rule, base: Base = BASE, keys: tuple[bytes, ...] = (KEY,)) -> Part:
    return Part(
        chains={"in": Chain(rules, base)},
        sets={"nodes": NamedSet(key=IPV4)},
        elements={"nodes": dict.fromkeys(keys)},
    )


def test_between_equal_states_there_is_nothing_to_do() -> None:
    found = plan(Family.INET, "t", state(ACCEPT, DROP), state(ACCEPT, DROP))
    assert (found.first, found.inserted, found.removed, found.differences) == (None, (), (), 0)
    assert found.second(Family.INET, "t", {}) is None


def test_new_rules_come_first_and_old_ones_go_in_a_later_batch() -> None:
    found = plan(Family.INET, "t", state(ACCEPT), state(DROP))
    assert found.first is not None
    assert (found.inserted, found.removed, found.differences) == ((("in", 1),), (("in", 1),), 1)
    assert found.second(Family.INET, "t", {"in": [7]}) is not None


def test_the_end_that_two_chains_have_in_common_stays() -> None:
    found = plan(Family.INET, "t", state(DROP), state(ACCEPT, DROP))
    assert (found.inserted, found.removed) == ((("in", 1),), ())


def test_elements_are_put_and_dropped_one_by_one() -> None:
    both = plan(Family.INET, "t", state(DROP), state(DROP, keys=(OTHER,)))
    kept = plan(Family.INET, "t", state(DROP), state(DROP, keys=(OTHER,)), prune=False)
    assert (both.differences, kept.differences) == (2, 1)


def test_what_cannot_be_changed_under_its_name_is_made_anew() -> None:
    elsewhere = Base(kind="filter", hook=Hook.FORWARD, priority=0)
    assert plan(Family.INET, "t", state(DROP), state(DROP, base=elsewhere)).anew
    assert not plan(Family.INET, "t", None, state(DROP)).anew


def test_namespaces_that_change_alike_share_a_plan() -> None:
    plans, before, after = Plans(Family.INET, "t"), state(ACCEPT), state(DROP)
    assert plans.between([before], [after]) is plans.between([before], [after])
    assert plans.anew([after]) is plans.anew([after])
    assert plans.between([before], [state(DROP, base=Base(kind="nat", hook=Hook.INPUT, priority=0))]) is None
