"""Who a certificate is for: read strictly, judged by swarm and by date on every call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pki.identity import alternative_names, identify, identity_of, subject
from pki.keys import new_key
from swarmcore.errors import Unauthenticated
from swarmcore.model.node import NodeRole

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
END = datetime(2030, 4, 1, tzinfo=UTC)
KEY = new_key()


def certificate(name: x509.Name) -> x509.Certificate:
    made = x509.CertificateBuilder().subject_name(name).issuer_name(x509.Name([]))
    made = made.public_key(KEY.public_key()).serial_number(7)
    return made.not_valid_before(BEGIN).not_valid_after(END).sign(KEY, hashes.SHA256())


def der(name: x509.Name) -> bytes:
    return certificate(name).public_bytes(Encoding.DER)


IDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=25)


@given(IDS, st.sampled_from(NodeRole), IDS)
def test_what_is_written_is_read(node_id: str, role: NodeRole, cluster_id: str) -> None:
    found = identity_of(certificate(subject(node_id, role, cluster_id)))
    assert (found.node_id, found.role, found.cluster_id) == (node_id, role, cluster_id)
    assert (found.not_before, found.not_after) == (BEGIN, END)


def attributes(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


CN, OU, ORG = NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME


@pytest.mark.parametrize(
    "name",
    [
        attributes(),
        attributes((OU, "swarm-manager"), (ORG, "c1")),
        attributes((CN, "n1"), (OU, "swarm-manager")),
        attributes((CN, "n1"), (CN, "n2"), (OU, "swarm-worker"), (ORG, "c1")),
        attributes((CN, "n1"), (OU, "swarm-worker"), (OU, "swarm-manager"), (ORG, "c1")),
        attributes((CN, "n1"), (OU, "swarm-queen"), (ORG, "c1")),
        attributes((CN, "n1"), (OU, "swarm-ca"), (ORG, "c1")),
    ],
    ids=["nothing", "no node", "no swarm", "two nodes", "two roles", "unknown role", "the CA's name"],
)
def test_a_subject_that_two_readers_could_read_in_two_ways_is_nobodys(name: x509.Name) -> None:
    with pytest.raises(Unauthenticated, match="not a swarm node's"):
        identity_of(certificate(name))


def test_a_peer_counts_until_the_end_of_its_certificate_and_in_its_swarm_only() -> None:
    made = der(subject("n1", NodeRole.WORKER, "c1"))
    assert identify(made, "c1", END - timedelta(seconds=1)).node_id == "n1"
    assert identify(made, "c1", BEGIN - timedelta(days=30)).node_id == "n1"  # clocks differ
    with pytest.raises(Unauthenticated, match="n1 has expired"):
        identify(made, "c1", END)
    with pytest.raises(Unauthenticated, match="another swarm"):
        identify(made, "c2", BEGIN)


def test_what_is_no_certificate_is_nobodys() -> None:
    with pytest.raises(Unauthenticated, match="cannot be read"):
        identify(b"garbage", "c1", BEGIN)


def test_only_a_managers_certificate_has_the_names_of_managers() -> None:
    assert alternative_names("n1", NodeRole.WORKER) == ("n1", "swarm-worker")
    assert alternative_names("n1", NodeRole.MANAGER) == ("n1", "swarm-manager", "swarm-ca")
