"""A node's identity and its certificate's subject: CN = node id, OU = role, O = cluster id, both ways."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID
from msgspec import Struct

from swarmcore.errors import Unauthenticated
from swarmcore.model.node import NodeRole

# The names that a certificate carries beside the node id, and that clients ask for: TLS itself
# refuses to take a worker for a manager.
UNIT = {NodeRole.MANAGER: "swarm-manager", NodeRole.WORKER: "swarm-worker"}
_ROLE = {unit: role for role, unit in UNIT.items()}
CA_NAME = "swarm-ca"


class Identity(Struct, frozen=True, kw_only=True):
    node_id: str
    role: NodeRole
    cluster_id: str
    not_before: datetime
    not_after: datetime


def subject(node_id: str, role: NodeRole, cluster_id: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster_id),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, UNIT[role]),
            x509.NameAttribute(NameOID.COMMON_NAME, node_id),
        ]
    )


def alternative_names(node_id: str, role: NodeRole) -> tuple[str, ...]:
    names = (node_id, UNIT[role])
    return (*names, CA_NAME) if role is NodeRole.MANAGER else names


def identity_of(certificate: x509.Certificate) -> Identity:
    """Who the certificate is for. Says nothing about whether it is genuine: TLS has checked that."""

    def only(oid: x509.ObjectIdentifier) -> str:
        # Two values of one attribute would let two readers see two different nodes.
        found = certificate.subject.get_attributes_for_oid(oid)
        if len(found) != 1 or not isinstance(found[0].value, str) or not found[0].value:
            raise Unauthenticated("the certificate is not a swarm node's: its subject is incomplete")
        return found[0].value

    role = _ROLE.get(only(NameOID.ORGANIZATIONAL_UNIT_NAME))
    if role is None:
        raise Unauthenticated("the certificate is not a swarm node's: its role is unknown")
    return Identity(
        node_id=only(NameOID.COMMON_NAME),
        role=role,
        cluster_id=only(NameOID.ORGANIZATION_NAME),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


@lru_cache(maxsize=1024)  # every call of every peer asks again for the same few certificates
def _parse(der: bytes) -> Identity:
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise Unauthenticated("the certificate cannot be read") from error
    return identity_of(certificate)


def identify(der: bytes, cluster_id: str, now: datetime) -> Identity:
    """The peer behind a certificate that TLS verified; asked on every call, for a connection may outlive it."""
    identity = _parse(der)
    if identity.cluster_id != cluster_id:
        raise Unauthenticated("the certificate belongs to another swarm")
    if now >= identity.not_after:
        raise Unauthenticated(
            f"the certificate of node {identity.node_id} has expired",
            "let the node leave and join the swarm again, and check its clock",
        )
    return identity
