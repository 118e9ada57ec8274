"""Ids and names: 25 characters of base36 from 17 random bytes, and the rules for what users may type.

Shape of the ids: swarmkit identity/randomid.go (high bit set, so that every id has 25 characters).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from swarmcore.errors import Invalid, clipped
from swarmcore.text.patterns import Pattern

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ID_LENGTH = 25
NewId = Callable[[], str]
_NAME = Pattern(r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?", 63)
_ID = Pattern(r"[0-9a-z]{25}", ID_LENGTH)


def base36(number: int, width: int = 0) -> str:
    """`number` in base 36, padded on the left with zeros to `width`."""
    digits: list[str] = []
    while number:
        number, rest = divmod(number, 36)
        digits.append(DIGITS[rest])
    return "".join(reversed(digits)).rjust(width, "0")


def encode_id(raw: bytes) -> str:
    """The id of 17 random bytes: the low 128 bits with the top bit of the 129th set."""
    assert len(raw) == 17
    number = int.from_bytes(raw, "big")
    number = (number & ((1 << 129) - 1)) | (1 << 128)
    return base36(number, ID_LENGTH)[-ID_LENGTH:]


def new_id() -> str:
    return encode_id(secrets.token_bytes(17))


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def check_name(text: str, what: str) -> str:
    """A service or network name (swarmkit controlapi/common.go): letters, digits, - and _, at most 63."""
    if not text:
        raise Invalid(f"{what} name must not be empty")
    if _NAME.fullmatch(text) is None:
        raise Invalid(
            f"invalid {what} name {clipped(text)}: only 63 character names of letters, digits, '-' and '_' are allowed"
        )
    return text


_ADJECTIVES = (
    "amber", "brave", "bright", "calm", "clever", "crisp", "daring", "deft", "eager", "fair", "fleet",
    "gentle", "glad", "golden", "happy", "hardy", "honest", "keen", "kind", "lively", "lucky", "merry",
    "mild", "neat", "noble", "patient", "plucky", "proud", "quick", "quiet", "ready", "sharp", "silver",
    "sleek", "smart", "steady", "sunny", "swift", "tidy", "vivid", "warm", "wise", "witty", "zesty",
)  # fmt: skip
_ANIMALS = (
    "badger", "bear", "beaver", "bee", "bison", "cat", "crane", "crow", "deer", "dolphin", "eagle", "elk",
    "falcon", "ferret", "finch", "fox", "gull", "hare", "hawk", "heron", "horse", "ibis", "jay", "koala",
    "lark", "lynx", "marten", "mole", "moose", "newt", "otter", "owl", "panda", "puffin", "raven",
    "robin", "seal", "shrew", "stoat", "stork", "swan", "tern", "tiger", "trout", "viper", "whale",
    "wolf", "wren", "yak", "zebra",
)  # fmt: skip


def random_name() -> str:
    """A name for something the user did not name, such as `swift_otter`."""
    return f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_ANIMALS)}{secrets.randbelow(100)}"
