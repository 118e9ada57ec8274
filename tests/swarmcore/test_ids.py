"""Names that users type, and ids."""

from __future__ import annotations

import pytest

from swarmcore.errors import Invalid
from swarmcore.ids import check_name, is_id, new_id


@pytest.mark.parametrize("name", ["a", "web", "Web_2", "a--b__c", "0", "a" * 63, "a-" * 31 + "a"])
def test_names_of_services_and_networks(name: str) -> None:
    assert check_name(name, "service") == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "_", "a.b", "a b", "a/b", "ä", "a\n", "a" * 64, "0" * 45 + ".v2"]
)
def test_other_names_are_refused_at_once(name: str) -> None:
    with pytest.raises(Invalid, match="service name"):
        check_name(name, "service")


def test_a_refusal_does_not_repeat_a_long_name() -> None:
    with pytest.raises(Invalid) as refusal:
        check_name("x" * 100_000, "service")
    assert len(str(refusal.value)) < 300


def test_ids_are_known_by_their_form() -> None:
    assert is_id(new_id())
    assert not is_id("web") and not is_id("a" * 26)
