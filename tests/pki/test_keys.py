"""Private keys as they lie on disk: in the clear, or closed to everybody without the other key."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.keys import KEK_BYTES, Locked, PrivateKey, dump_key, load_key, new_key
from swarmcore.errors import Invalid

KEK, OTHER = os.urandom(KEK_BYTES), os.urandom(KEK_BYTES)


def number(key: PrivateKey) -> int:
    return key.private_numbers().private_value


def pem_of(key: PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize("kek", [None, KEK], ids=["in the clear", "encrypted"])
def test_a_key_comes_back_as_it_was_written(kek: bytes | None) -> None:
    key = new_key()
    pem = dump_key(key, kek)
    assert number(load_key(pem, kek)) == number(key)
    assert (b"ENCRYPTED" in pem) is (kek is not None)
    assert number(new_key()) != number(key)


def test_a_locked_key_opens_for_no_other() -> None:
    pem = dump_key(new_key(), KEK)
    with pytest.raises(Locked, match="locked"):
        load_key(pem)
    with pytest.raises(Locked, match="does not open"):
        load_key(pem, OTHER)


def test_a_key_in_the_clear_needs_none_and_minds_none() -> None:
    key = new_key()
    assert number(load_key(dump_key(key), KEK)) == number(key)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_encrypting_key_of_another_length_is_a_fault_of_ours(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        dump_key(new_key(), bytes(length))


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"x" * 200,
        dump_key(new_key())[:-40],
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        pem_of(rsa.generate_private_key(65537, 2048)),
    ],
    ids=["empty", "garbage", "cut off", "another curve", "RSA"],
)
def test_what_is_no_key_of_ours_is_refused(pem: bytes) -> None:
    with pytest.raises(Invalid, match="private key"):
        load_key(pem)
