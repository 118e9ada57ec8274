"""Certificate requests: made by a node for its new key, checked by the CA; only the public key is taken from one.

Identity never comes from a request: the CA writes node id, role and cluster itself.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pki.keys import PrivateKey
from swarmcore.errors import Invalid

MAX_BYTES = 16 * 1024


def make_csr(key: PrivateKey) -> bytes:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def check_csr(pem: bytes) -> ec.EllipticCurvePublicKey:
    """The request's public key, once its owner is proven to hold the private one."""
    if len(pem) > MAX_BYTES:
        raise Invalid("the certificate request is too large")
    try:
        request = x509.load_pem_x509_csr(pem)
        public = request.public_key()
        genuine = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid(f"the certificate request cannot be read: {error}") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise Invalid("the certificate request is not for an ECDSA P-256 key")
    if not genuine:
        raise Invalid("the certificate request is not signed by its own key")
    return public
