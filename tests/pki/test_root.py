from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.csr import make_csr
from pki.identity import identify, identity_of
from pki.keys import Locked, dump_key, load_key, new_key
from pki.root import BACKDATE, NODE_LIFE, ROOT_LIFE, RootAuthority, issued_by, load_certificate
from swarmcore.errors import Invalid, Unauthenticated
from swarmcore.model.node import NodeRole
from tests.pki.clock import ManualClock
from tests.pki.nodes import CLUSTER


def sign(root: RootAuthority, role: NodeRole, life: timedelta = NODE_LIFE) -> x509.Certificate:
    return load_certificate(root.sign(make_csr(new_key()), "node1", role, CLUSTER, life))


def names(certificate: x509.Certificate) -> list[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


def test_the_root_is_p256_for_20_years_and_may_be_followed_by_one_more_ca() -> None:
    clock = ManualClock()
    certificate = load_certificate(RootAuthority.create(clock).cert_pem)
    assert certificate.subject.rfc4514_string() == "CN=swarm-ca"
    assert certificate.not_valid_before_utc == clock.now() - BACKDATE
    assert certificate.not_valid_after_utc == clock.now() + ROOT_LIFE
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 1)


def test_a_manager_is_named_so_and_may_serve(root: RootAuthority) -> None:
    certificate = sign(root, NodeRole.MANAGER)
    assert names(certificate) == ["node1", "swarm-manager", "swarm-ca"]
    assert (
        ExtendedKeyUsageOID.SERVER_AUTH
        in certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    )
    assert issued_by(certificate, load_certificate(root.cert_pem))


def test_a_worker_never_serves(root: RootAuthority) -> None:
    certificate = sign(root, NodeRole.WORKER)
    assert names(certificate) == ["node1", "swarm-worker"]
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_certificate_lives_as_asked_but_an_hour_at_least_and_no_longer_than_the_root() -> None:
    clock = ManualClock()
    root = RootAuthority.create(clock)
    for asked, got in [
        (NODE_LIFE, NODE_LIFE),
        (timedelta(0), timedelta(hours=1)),
        (2 * ROOT_LIFE, ROOT_LIFE),
    ]:
        certificate = sign(root, NodeRole.WORKER, asked)
        assert certificate.not_valid_before_utc == clock.now() - timedelta(hours=1)
        assert certificate.not_valid_after_utc == clock.now() + got


def test_the_subject_tells_the_identity(root: RootAuthority) -> None:
    certificate = sign(root, NodeRole.MANAGER)
    identity = identity_of(certificate)
    assert (identity.node_id, identity.role, identity.cluster_id) == ("node1", NodeRole.MANAGER, CLUSTER)


def test_a_certificate_of_another_swarm_or_past_its_end_is_refused(root: RootAuthority) -> None:
    certificate = sign(root, NodeRole.WORKER)
    der, end = certificate.public_bytes(Encoding.DER), certificate.not_valid_after_utc
    assert identify(der, CLUSTER, end - timedelta(seconds=1)).node_id == "node1"
    with pytest.raises(Unauthenticated, match="another swarm"):
        identify(der, "another", end - timedelta(seconds=1))
    with pytest.raises(Unauthenticated, match="expired"):
        identify(der, CLUSTER, end)
    with pytest.raises(Unauthenticated, match="cannot be read"):
        identify(b"\x30\x00garbage", CLUSTER, end)


def test_a_root_is_no_node(root: RootAuthority) -> None:
    with pytest.raises(Unauthenticated, match="subject is incomplete"):
        identity_of(load_certificate(root.cert_pem))


def test_a_request_must_be_readable_p256_and_signed_by_its_key(root: RootAuthority) -> None:
    def request(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)

    good = x509.load_pem_x509_csr(make_csr(new_key())).public_bytes(Encoding.DER)
    broken = x509.load_der_x509_csr(good[:-2] + bytes([good[-2] ^ 1, good[-1]])).public_bytes(Encoding.PEM)
    for csr, said in [
        (b"", "cannot be read"),
        (b"x" * 20_000, "too large"),
        (request(rsa.generate_private_key(65537, 2048)), "P-256"),
        (request(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (broken, "not signed by its own key"),
    ]:
        with pytest.raises(Invalid, match=said):
            root.sign(csr, "node1", NodeRole.WORKER, CLUSTER)


def test_a_root_needs_its_own_key(root: RootAuthority) -> None:
    with pytest.raises(Invalid, match="does not belong"):
        RootAuthority(root.cert_pem, dump_key(new_key()))


def test_a_locked_key_opens_with_its_kek_only() -> None:
    key, kek = new_key(), bytes(range(32))
    pem = dump_key(key, kek)
    assert load_key(pem, kek).private_numbers() == key.private_numbers()
    with pytest.raises(Locked, match="locked"):
        load_key(pem)
    with pytest.raises(Locked, match="does not open"):
        load_key(pem, bytes(32))
    with pytest.raises(Invalid, match="damaged"):
        load_key(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
