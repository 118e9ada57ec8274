"""Certificate requests: only the public key of one counts, and only if its owner signed it."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pki.csr import MAX_BYTES, check_csr, make_csr
from pki.keys import new_key
from swarmcore.errors import Invalid


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str = "") -> bytes:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_a_request_gives_its_keys_public_half() -> None:
    key = new_key()
    assert check_csr(make_csr(key)).public_numbers() == key.public_key().public_numbers()


def test_a_request_names_nobody_and_a_name_in_one_says_nothing() -> None:
    key = new_key()
    assert list(x509.load_pem_x509_csr(make_csr(key)).subject) == []
    assert check_csr(request(key, "manager1")).public_numbers() == key.public_key().public_numbers()


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["another curve", "RSA"],
)
def test_other_keys_are_refused(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    with pytest.raises(Invalid, match="P-256"):
        check_csr(request(key))


def test_a_request_for_anothers_key_is_refused() -> None:
    """The last bytes are the signature: one bit of it is another's."""
    lines = make_csr(new_key()).decode().splitlines()
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[-1] ^= 1
    forged = "\n".join([lines[0], base64.b64encode(der).decode(), lines[-1], ""]).encode()
    with pytest.raises(Invalid, match="not signed by its own key"):
        check_csr(forged)


@pytest.mark.parametrize("pem", [b"", b"x" * 100, make_csr(new_key())[:-30]], ids=["empty", "garbage", "cut"])
def test_what_is_no_request_is_refused(pem: bytes) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        check_csr(pem)


def test_a_large_one_is_not_even_read() -> None:
    with pytest.raises(Invalid, match="too large"):
        check_csr(make_csr(new_key()) + b"\n" * MAX_BYTES)
