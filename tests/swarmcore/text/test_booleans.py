"""True, false, or refused: nothing in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmcore.errors import Invalid
from swarmcore.text.booleans import FALSE, TRUE, boolean


def test_what_go_reads_is_read() -> None:
    assert {boolean(text, "x") for text in ("1", "t", "T", "true", "TRUE", "True")} == {True}
    assert {boolean(text, "x") for text in ("0", "f", "F", "false", "FALSE", "False")} == {False}


@given(st.text(max_size=6).filter(lambda text: text not in TRUE + FALSE))
def test_everything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(Invalid, match="for force"):
        boolean(text, "force")


@pytest.mark.parametrize("text", ["tRUE", "yes", "on", "", " true", "2", "-1"])
def test_nearly_is_not_enough(text: str) -> None:
    with pytest.raises(Invalid):
        boolean(text, "force")
