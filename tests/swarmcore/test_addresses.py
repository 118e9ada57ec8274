"""Addresses as text: ports with their default, hosts out of brackets, prefix lengths that may be there or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmcore.addresses import bare, host_of, joined, split, split_or, split_prefix, with_port
from swarmcore.errors import Invalid


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_address_is_split_as_it_was_joined(host: object, port: int) -> None:
    address = joined(str(host), port)
    assert split(address) == split_or(address, 1) == (str(host), port)
    assert host_of(address) == str(host)
    assert with_port(address, 1) == address


@given(st.text(max_size=40))
def test_a_text_is_refused_in_one_line_or_taken_whole(text: str) -> None:
    try:
        host, port = split(text)
    except Invalid as error:
        assert "\n" not in str(error) and error.hint == "write it like 10.0.0.1:2377"
    else:
        assert split(joined(host, port)) == (host, port)


@pytest.mark.parametrize(
    ("typed", "host", "port"),
    [
        ("10.0.0.1", "10.0.0.1", 7),
        ("[fd00::1]", "fd00::1", 7),
        ("fd00::1", "fd00::1", 7),
        ("eth0:80", "eth0", 80),
    ],
)
def test_a_port_that_is_not_named_is_the_default(typed: str, host: str, port: int) -> None:
    assert split_or(typed, 7) == (host, port)
    assert split(with_port(typed, 7)) == (host, port)


@pytest.mark.parametrize(
    "text", ["[fd00::1]:0", "fd00::1]:80", "[fd00::1:80", "a b:80", "-a:80", f"{'a' * 300}:80"]
)
def test_what_only_looks_like_an_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid address"):
        split(text)


def test_a_prefix_length_may_stand_behind_an_address() -> None:
    assert (bare("10.0.0.2/24"), bare("fd00::2/64"), bare("10.0.0.2"), bare("")) == (
        "10.0.0.2",
        "fd00::2",
        "10.0.0.2",
        "",
    )
    assert split_prefix("fd00::2/64") == ("fd00::2", 64)
    assert split_prefix("10.0.0.2") == ("10.0.0.2", None)
    with pytest.raises(ValueError):
        split_prefix("10.0.0.2/many")
