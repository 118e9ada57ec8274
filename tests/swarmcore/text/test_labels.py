"""Labels that a list is asked for."""

from __future__ import annotations

import pytest

from swarmcore.text.labels import has_label


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [([], True), (["a"], True), (["a=1"], True), (["a=2"], False), (["b="], True), (["a", "c"], False)],
    ids=str,
)
def test_every_label_that_is_asked_for_must_be_there(wanted: list[str], holds: bool) -> None:
    assert has_label({"a": "1", "b": ""}, wanted) is holds
