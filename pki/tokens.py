"""Join tokens and unlock keys: Docker's text forms, read with errors that say what is wrong with the text.

A join token is `SWMTKN-1-<digest>-<secret>`: the SHA-256 of the root certificate's PEM in 50 characters of
base36, and 16 random bytes in 25. The digest lets a joiner pin the root before it sends the secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable

from msgspec import Struct

from swarmcore.errors import Invalid
from swarmcore.ids import base36

RandomBytes = Callable[[int], bytes]
DIGEST_CHARACTERS = 50
SECRET_CHARACTERS = 25
SECRET_BYTES = 16
PREFIX = "SWMTKN-1-"
LENGTH = len(PREFIX) + DIGEST_CHARACTERS + 1 + SECRET_CHARACTERS
UNLOCK_PREFIX = "SWMKEY-1-"
_ALLOWED = frozenset("0123456789abcdefghijklmnopqrstuvwxyz-")


class InvalidToken(Invalid):
    """What was given as a join token cannot be one."""

    hint = 'copy the whole token that "pyswarm join-token worker" prints on a manager'


class JoinToken(Struct, frozen=True, kw_only=True):
    digest: bytes
    secret: bytes

    def __str__(self) -> str:
        digest = base36(int.from_bytes(self.digest, "big"), DIGEST_CHARACTERS)
        return f"{PREFIX}{digest}-{base36(int.from_bytes(self.secret, 'big'), SECRET_CHARACTERS)}"

    def __repr__(self) -> str:
        return "JoinToken(...)"  # never in a log or a traceback


def root_digest(root_pem: bytes) -> bytes:
    return hashlib.sha256(root_pem).digest()


def new_join_token(root_pem: bytes, random: RandomBytes = secrets.token_bytes) -> str:
    return str(JoinToken(digest=root_digest(root_pem), secret=random(SECRET_BYTES)))


def parse_join_token(text: str) -> JoinToken:
    """The token in `text`; InvalidToken says whether it is truncated, garbled or something else."""
    text = text.strip()
    if text.startswith(UNLOCK_PREFIX):
        raise InvalidToken("this is an unlock key, not a join token")
    if text.startswith("SWMTKN-") and not text.startswith(PREFIX[: len(text)]):
        raise InvalidToken("the join token has a form that this version does not know")
    if not text or not text.startswith(PREFIX[: len(text)]):
        raise InvalidToken(f"this is not a join token: one starts with {PREFIX}")
    if not _ALLOWED.issuperset(text[len(PREFIX) :]):
        raise InvalidToken("the join token is garbled: it has only lower-case letters, digits and '-'")
    if len(text) < LENGTH:
        raise InvalidToken(f"the join token is truncated: it has {len(text)} of {LENGTH} characters")
    if len(text) > LENGTH:
        raise InvalidToken(f"the join token is too long: it has {len(text)} characters instead of {LENGTH}")
    digest, dash, secret = text[len(PREFIX) :].partition("-")
    if not dash or len(digest) != DIGEST_CHARACTERS or len(secret) != SECRET_CHARACTERS or "-" in secret:
        raise InvalidToken("the join token is garbled: a '-' is out of place")
    return JoinToken(digest=_bytes(digest, 32), secret=_bytes(secret, SECRET_BYTES))


def _bytes(text: str, size: int) -> bytes:
    try:
        return int(text, 36).to_bytes(size, "big")
    except OverflowError:
        raise InvalidToken("the join token is garbled: it holds a number that is too large") from None


def same_token(given: str, expected: str) -> bool:
    """Constant time, and false for an empty `expected`: a role without a token admits nobody."""
    matches = hmac.compare_digest(given.strip().encode(), expected.encode())
    return matches and bool(expected)


def pins(token: JoinToken, root_pem: bytes) -> bool:
    """Whether `root_pem` is the root that the token was made for."""
    return hmac.compare_digest(token.digest, root_digest(root_pem))


def new_unlock_key(random: RandomBytes = secrets.token_bytes) -> bytes:
    return random(32)


def show_unlock_key(key: bytes) -> str:
    return UNLOCK_PREFIX + base64.b64encode(key).decode().rstrip("=")


def parse_unlock_key(text: str) -> bytes:
    hint = "copy the whole key, as it was shown when the swarm was locked"
    text = text.strip()
    if not text.startswith(UNLOCK_PREFIX):
        raise Invalid(f"this is not an unlock key: one starts with {UNLOCK_PREFIX}", hint)
    body = text[len(UNLOCK_PREFIX) :]
    try:
        key = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("the unlock key is garbled", hint) from None
    if len(key) != 32:
        raise Invalid("the unlock key is truncated" if len(key) < 32 else "the unlock key is too long", hint)
    return key
