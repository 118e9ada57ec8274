"""Errors for users: bounded, one tree, the same on the other side of a wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmcore import errors
from swarmcore.errors import LONGEST_MESSAGE, Internal, NotFound, SwarmError, Unavailable, clipped, from_wire


def tree(cls: type[SwarmError]) -> list[type[SwarmError]]:
    return [cls, *(each for sub in cls.__subclasses__() for each in tree(sub))]


OURS = [cls for cls in tree(SwarmError) if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("hint", ["", "look at service ls"])
def test_an_error_arrives_as_it_was_raised(cls: type[SwarmError], hint: str) -> None:
    told = from_wire(cls.__name__, "service web not found", hint)
    assert type(told) is cls
    assert (str(told), told.hint, told.status) == ("service web not found", hint, cls.status)


def test_an_error_of_some_module_arrives_as_its_ancestor_that_all_know() -> None:
    class PortTaken(Unavailable):
        def __init__(self, port: int) -> None:
            super().__init__(f"port {port} is taken")

    told = from_wire("PortTaken", str(PortTaken(80)), PortTaken(80).hint)
    assert type(told) is Unavailable and str(told) == "port 80 is taken"


@pytest.mark.parametrize("kind", ["OfANewerVersion", "", "Exception", "KeyboardInterrupt"])
def test_what_nobody_knows_is_internal_and_never_anything_else(kind: str) -> None:
    told = from_wire(kind, "what it said", "what to do")
    assert type(told) is Internal and (str(told), told.hint) == ("what it said", "what to do")


def test_a_hint_is_the_classs_own_unless_one_is_given() -> None:
    assert errors.OutcomeUnknown("lost").hint == errors.OutcomeUnknown.hint != ""
    assert errors.OutcomeUnknown("lost", "").hint == ""
    assert NotFound("no", "look").hint == "look" and NotFound("no").hint == ""


@given(st.text(max_size=3 * LONGEST_MESSAGE))
def test_a_message_has_an_end_and_short_ones_are_whole(text: str) -> None:
    told = str(SwarmError(text))
    assert len(told) <= LONGEST_MESSAGE
    assert told == text if len(text) <= LONGEST_MESSAGE else text.startswith(told[:-1])


@given(st.text(max_size=300))
def test_what_a_user_typed_is_repeated_in_quotes_on_one_line(text: str) -> None:
    told = clipped(text)
    assert told[0] in "'\"" and told[-1] == told[0] and len(told.splitlines()) == 1
    assert told == repr(text) if len(text) <= 80 else "…" in told


def test_statuses_are_those_of_an_error_and_exit_codes_of_a_failure() -> None:
    assert all(400 <= cls.status <= 599 and cls.exit_code > 0 for cls in OURS)
