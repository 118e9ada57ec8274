"""Joining and renewing: how a node gets the root certificate and a certificate of its own."""

from __future__ import annotations

from msgspec import Struct

from swarmcore.model.node import Availability, NodeDescription, NodeRole


class GetRootCertificate(Struct, frozen=True, kw_only=True, tag="get-root-certificate"):
    """Anyone may ask; the answer is worth something only after comparing it with a join token's digest."""


class RootCertificate(Struct, frozen=True, kw_only=True, tag="root-certificate"):
    root_pem: bytes


class IssueCertificate(Struct, frozen=True, kw_only=True, tag="issue-certificate"):
    """A first certificate for whoever has a join token, or the next one for the node whose certificate asks."""

    csr: bytes
    token: str = ""
    availability: Availability = Availability.ACTIVE
    description: NodeDescription | None = None  # of who joins: what is known before there is a certificate

    def __repr__(self) -> str:
        return "IssueCertificate(...)"  # the token must not reach a log


class ForwardedIssue(Struct, frozen=True, kw_only=True, tag="forwarded-issue"):
    """A manager passes an IssueCertificate to the leader; `node_id` is who asked by certificate, None for a joiner."""

    request: IssueCertificate
    node_id: str | None
    address: str


class IssuedCertificate(Struct, frozen=True, kw_only=True, tag="issued-certificate"):
    node_id: str
    role: NodeRole
    cluster_id: str
    cert_pem: bytes
    root_pem: bytes
