"""Private keys: make, dump and load ECDSA P-256 keys as PEM, encrypted when a key-encrypting key is given."""

from __future__ import annotations

import base64

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from swarmcore.errors import Invalid, Unavailable

PrivateKey = ec.EllipticCurvePrivateKey
KEK_BYTES = 32


class Locked(Unavailable):
    """The key is encrypted (autolock) and no key, or a wrong one, was given."""

    hint = "this version of pyswarm cannot unlock it: use the version that locked it"


def new_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def passphrase(kek: bytes | None) -> bytes:
    """What OpenSSL is given to open a key; empty means that the key is expected in the clear."""
    if kek is None:
        return b""
    if len(kek) != KEK_BYTES:
        raise ValueError(f"a key-encrypting key has {KEK_BYTES} bytes, not {len(kek)}")
    return base64.b64encode(kek)


def dump_key(key: PrivateKey, kek: bytes | None = None) -> bytes:
    secret = passphrase(kek)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption(),
    )


def load_key(pem: bytes, kek: bytes | None = None) -> PrivateKey:
    """Raises Locked where the key needs another `kek`, Invalid where this is no P-256 key."""
    encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem
    if encrypted and kek is None:
        raise Locked("the node's key is encrypted and locked")
    try:
        key = serialization.load_pem_private_key(pem, passphrase(kek) if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise Locked("the unlock key does not open the node's key") from error
        raise Invalid(f"the private key is damaged: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("the private key is not an ECDSA P-256 key")
    return key
