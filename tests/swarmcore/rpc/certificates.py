"""A root and node certificates made on the fly, and TLS contexts of them, in the shape that pki makes."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from swarmcore.errors import Unauthenticated
from swarmcore.model.node import NodeRole


@dataclass(frozen=True)
class Who:
    node_id: str
    role: NodeRole
    cluster_id: str


class TestSwarm:
    """One root with its nodes' contexts."""

    __test__ = False

    def __init__(self, folder: Path, cluster_id: str = "swarm1") -> None:
        self._folder, self.cluster_id = folder, cluster_id
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"root of {cluster_id}")])
        self.root = (
            _builder(name, name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def server(self, node_id: str = "m1") -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self._root_pem())
        self.present(context, node_id, NodeRole.MANAGER)
        return context

    def client(self, node_id: str | None, role: NodeRole = NodeRole.WORKER) -> ssl.SSLContext:
        """node_id=None: a client without a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self._root_pem())
        if node_id is not None:
            self.present(context, node_id, role)
        return context

    def present(self, context: ssl.SSLContext, node_id: str, role: NodeRole) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.cluster_id),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"swarm-{role}"),
                x509.NameAttribute(NameOID.COMMON_NAME, node_id),
            ]
        )
        names = x509.SubjectAlternativeName([x509.DNSName(node_id), x509.DNSName(f"swarm-{role}")])
        certificate = (
            _builder(subject, self.root.subject, key)
            .add_extension(names, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self._folder / f"{self.cluster_id}-{node_id}.pem"
        path.write_bytes(pem)
        context.load_cert_chain(path)

    def _root_pem(self) -> str:
        return self.root.public_bytes(serialization.Encoding.PEM).decode()


def read_identity(der: bytes) -> Who:
    subject = x509.load_der_x509_certificate(der).subject

    def only(oid: x509.ObjectIdentifier) -> str:
        return str(subject.get_attributes_for_oid(oid)[0].value)

    role = only(NameOID.ORGANIZATIONAL_UNIT_NAME).removeprefix("swarm-")
    if role not in ("worker", "manager"):
        raise Unauthenticated("not a node")
    return Who(only(NameOID.COMMON_NAME), NodeRole(role), only(NameOID.ORGANIZATION_NAME))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
