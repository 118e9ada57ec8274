"""Tables as values: what makes rules and sets equal, and parts that go together."""

from __future__ import annotations

from netoverlay.nft import expr, types
from netoverlay.nft.table import Chain, NamedSet, Part, merged, rule
from netoverlay.nft.types import IPV4, VERDICT

ACCEPT, DROP = expr.verdict(types.ACCEPT), expr.verdict(types.DROP)


def test_rules_are_the_same_if_they_do_the_same() -> None:
    flat, parted = rule(expr.meta(expr.Meta.L4PROTO), ACCEPT), rule((expr.meta(expr.Meta.L4PROTO),), ACCEPT)
    assert flat == parted
    assert flat.digest != rule(ACCEPT).digest
    assert rule(DROP, note="no node").comment == f"no node {rule(DROP).digest.hex()}"
    assert rule(DROP).comment == rule(DROP).digest.hex()


def test_the_shape_of_a_set_is_what_the_kernel_knows_of_it() -> None:
    plain, verdicts = NamedSet(key=IPV4), NamedSet(key=IPV4, value=VERDICT)
    assert plain.shape == NamedSet(key=IPV4).shape
    assert len({plain.shape, verdicts.shape, NamedSet(key=IPV4, room=9).shape}) == 3


def test_where_parts_disagree_the_last_one_says_how_it_is() -> None:
    one = Part(chains={"a": Chain((rule(ACCEPT),))}, elements={"s": {b"1": None, b"2": types.ACCEPT}})
    two = Part(chains={"a": Chain((rule(DROP),))}, elements={"s": {b"2": types.DROP}})
    both = merged((one, two))
    assert both.chains == two.chains
    assert both.elements == {"s": {b"1": None, b"2": types.DROP}}
