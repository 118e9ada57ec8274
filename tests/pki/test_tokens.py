from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.tokens import (
    LENGTH,
    InvalidToken,
    JoinToken,
    new_join_token,
    new_unlock_key,
    parse_join_token,
    parse_unlock_key,
    pins,
    root_digest,
    same_token,
    show_unlock_key,
)
from swarmcore.errors import Invalid
from swarmcore.ids import base36

TOKEN = new_join_token(b"root", lambda size: bytes(range(size)))


def test_a_token_has_dockers_form() -> None:
    prefix, version, digest, secret = TOKEN.split("-")
    assert (prefix, version, len(digest), len(secret), len(TOKEN)) == ("SWMTKN", "1", 50, 25, 85)
    assert int(digest, 36) == int(hashlib.sha256(b"root").hexdigest(), 16)
    assert int(secret, 36) == int.from_bytes(bytes(range(16)), "big")


def test_a_token_that_docker_made_is_read() -> None:
    text = "SWMTKN-1-49nj1cmql0jkz5s954yi3oex3nedyz0fb0xx14ie39trti4wxv-8vxv8rssmk743ojnwacrr2e7c"
    assert str(parse_join_token(text)) == text


@given(digest=st.binary(min_size=32, max_size=32), secret=st.binary(min_size=16, max_size=16))
def test_every_token_survives_its_text(digest: bytes, secret: bytes) -> None:
    token = JoinToken(digest=digest, secret=secret)
    assert len(str(token)) == LENGTH
    assert parse_join_token(f" {token}\n") == token


@given(st.integers(min_value=0, max_value=1 << 300), st.integers(min_value=0, max_value=60))
def test_base36_is_what_int_reads(number: int, width: int) -> None:
    text = base36(number, width)
    assert len(text) >= width
    assert int(text or "0", 36) == number


@given(st.text(max_size=120) | st.text(alphabet="SWMTKN-1abz09", max_size=120))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    try:
        parse_join_token(text)
    except InvalidToken as error:
        assert str(error)
        assert error.hint


@pytest.mark.parametrize("length", range(1, LENGTH))
def test_a_cut_token_is_called_truncated(length: int) -> None:
    with pytest.raises(InvalidToken, match=f"truncated: it has {length} of 85"):
        parse_join_token(TOKEN[:length])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a join token"),
        ("hello", "not a join token"),
        ("SWMTKN-2-1-" + TOKEN[9:], "does not know"),
        ("SWMKEY-1-abc", "an unlock key"),
        (TOKEN + "0", "too long"),
        (TOKEN[:20].upper() + TOKEN[20:].upper(), "garbled"),
        (TOKEN[:20] + "é" + TOKEN[21:], "garbled"),
        (TOKEN[:30] + "-" + TOKEN[31:], "out of place"),
        (TOKEN.replace("-", "_", 3).replace("SWMTKN_1_", "SWMTKN-1-"), "garbled"),
        ("SWMTKN-1-" + "z" * 50 + "-" + "0" * 25, "too large"),
        ("SWMTKN-1-" + "0" * 50 + "-" + "z" * 25, "too large"),
    ],
)
def test_a_bad_token_is_told_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(InvalidToken, match=said):
        parse_join_token(text)


def test_a_token_is_never_shown_by_repr() -> None:
    assert TOKEN[-25:] not in repr(parse_join_token(TOKEN))


def test_only_the_same_token_matches() -> None:
    assert same_token(TOKEN + "\n", TOKEN)
    assert not same_token(TOKEN[:-1] + "x", TOKEN)
    assert not same_token("", "")
    assert not same_token("é", TOKEN)


def test_a_token_pins_its_root_only() -> None:
    token = parse_join_token(TOKEN)
    assert pins(token, b"root")
    assert not pins(token, b"root ")
    assert token.digest == root_digest(b"root")


@given(st.binary(min_size=32, max_size=32))
def test_every_unlock_key_survives_its_text(key: bytes) -> None:
    text = show_unlock_key(key)
    assert text.startswith("SWMKEY-1-")
    assert len(text) == 9 + 43
    assert parse_unlock_key(text + "\n") == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TOKEN, "not an unlock key"),
        (show_unlock_key(bytes(32))[:-4], "truncated"),
        (show_unlock_key(bytes(32)) + "AAAA", "too long"),
        ("SWMKEY-1-" + "*" * 43, "garbled"),
    ],
)
def test_a_bad_unlock_key_is_told_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse_unlock_key(text)


def test_unlock_keys_differ() -> None:
    assert new_unlock_key() != new_unlock_key()
