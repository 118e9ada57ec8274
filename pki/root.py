"""The swarm's root: a self-signed ECDSA P-256 certificate for 20 years that signs every node's certificate."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.csr import check_csr
from pki.identity import CA_NAME, alternative_names, subject
from pki.keys import PrivateKey, dump_key, load_key, new_key
from swarmcore.clock import REAL_CLOCK, Clock
from swarmcore.errors import Invalid
from swarmcore.model.node import NodeRole

ROOT_LIFE = timedelta(seconds=630_720_000)
NODE_LIFE = timedelta(days=90)
MIN_NODE_LIFE = timedelta(hours=1)
BACKDATE = timedelta(hours=1)  # nodes whose clocks are a little behind must accept a new certificate at once


class RootAuthority:
    """A root with its private key; raises Invalid where the two do not belong together."""

    def __init__(self, cert_pem: bytes, key_pem: bytes, clock: Clock = REAL_CLOCK) -> None:
        self._certificate = load_certificate(cert_pem)
        self._key = load_key(key_pem)
        if self._certificate.public_key() != self._key.public_key():
            raise Invalid("the root key does not belong to the root certificate")
        self._clock = clock
        self.cert_pem = cert_pem
        self.key_pem = key_pem

    @classmethod
    def create(cls, clock: Clock = REAL_CLOCK) -> RootAuthority:
        key = new_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CA_NAME)])
        now = clock.now()
        # One certificate below the root that may itself sign: root rotation cross-signs the next root.
        builder = (
            _builder(key.public_key(), name, key)
            .subject_name(name)
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + ROOT_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(_usage(ca=True), critical=True)
        )
        pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        return cls(pem, dump_key(key), clock)

    def sign(
        self, csr: bytes, node_id: str, role: NodeRole, cluster_id: str, lifetime: timedelta = NODE_LIFE
    ) -> bytes:
        """A node's certificate (PEM) for the request's key; it never outlives the root."""
        public = check_csr(csr)
        now = self._clock.now()
        until = now + max(lifetime, MIN_NODE_LIFE)
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if role is NodeRole.MANAGER:
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)  # only managers are ever dialled
        names = [x509.DNSName(name) for name in alternative_names(node_id, role)]
        builder = (
            _builder(public, self._certificate.subject, self._key)
            .subject_name(subject(node_id, role, cluster_id))
            .not_valid_before(now - BACKDATE)
            .not_valid_after(min(until, self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def load_certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise Invalid(f"the certificate cannot be read: {error}") from error


def issued_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except Exception:  # noqa: BLE001 - InvalidSignature, ValueError and TypeError all mean: no
        return False
    return True


def _builder(
    public: ec.EllipticCurvePublicKey, issuer: x509.Name, key: PrivateKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .public_key(public)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
