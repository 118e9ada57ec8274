"""Which addresses a node listens on and tells others."""

from __future__ import annotations

import pytest

from pyswarmd.node.addresses import advertise_address, listen_address
from swarmcore.addresses import joined, split
from swarmcore.errors import Invalid

ANYWHERE = ("0.0.0.0", 2377)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("10.0.0.1:2377", ("10.0.0.1", 2377)),
        ("m1.example:4000", ("m1.example", 4000)),
        ("[fd00::1]:2377", ("fd00::1", 2377)),
    ],
)
def test_an_address_is_split_and_joined_again(text: str, parts: tuple[str, int]) -> None:
    assert split(text) == parts
    assert joined(*parts) == text


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1", "10.0.0.1:", ":2377", "10.0.0.1:0", "10.0.0.1:65536", "a:b", "fd00::1", "a:²"]
)
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid address"):
        split(text)


@pytest.mark.parametrize(
    ("typed", "listen"),
    [
        ("", ANYWHERE),
        ("10.0.0.1", ("10.0.0.1", 2377)),
        ("10.0.0.1:4000", ("10.0.0.1", 4000)),
        ("[::]:2377", ("::", 2377)),
        ("[fd00::1]", ("fd00::1", 2377)),
        ("fd00::1", ("fd00::1", 2377)),
    ],
)
async def test_where_to_listen(typed: str, listen: tuple[str, int]) -> None:
    assert await listen_address(typed) == listen


async def test_an_interface_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Invalid, match="listen address 'nothere0' is neither an IP address nor an interface"):
        await listen_address("nothere0:2377")


@pytest.mark.parametrize(
    ("typed", "listen", "told"),
    [
        ("10.0.0.1", ANYWHERE, "10.0.0.1:2377"),
        ("10.0.0.1", ("0.0.0.0", 4000), "10.0.0.1:4000"),
        ("10.0.0.1:5000", ANYWHERE, "10.0.0.1:5000"),
        ("[fd00::1]:5000", ("::", 2377), "[fd00::1]:5000"),
        ("", ("10.0.0.2", 2377), "10.0.0.2:2377"),
        ("", ("fd00::2", 2377), "[fd00::2]:2377"),
    ],
)
async def test_what_others_are_told_to_dial(typed: str, listen: tuple[str, int], told: str) -> None:
    assert await advertise_address(typed, listen) == told


@pytest.mark.parametrize("typed", ["0.0.0.0", "[::]:2377"])
async def test_nobody_can_dial_the_unspecified_address(typed: str) -> None:
    with pytest.raises(Invalid, match="advertise address must be a non-zero IP address"):
        await advertise_address(typed, ANYWHERE)


async def test_a_joiner_tells_the_address_that_reaches_the_manager() -> None:
    assert await advertise_address("", ANYWHERE, "127.0.0.1:2377") == "127.0.0.1:2377"
