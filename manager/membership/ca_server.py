"""The CA as nodes see it: the root for anyone, a first certificate for a join token, the next one for a certificate.

Every manager answers; only the leader signs, because a certificate is given out only after the store holds it.
A follower passes the request on once, naming the node that its TLS connection proved.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from manager.leader import Leader, OnLeader
from manager.membership.bootstrap import accepted_node, certificate_life, issued_certificate
from manager.membership.room import make_room
from manager.raft.fence import superseded
from manager.rules.reports import checked_description
from manager.store.store import Store
from manager.store.tables import Tables
from manager.store.tx import Tx
from pki.csr import check_csr
from pki.root import RootAuthority
from pki.tokens import same_token
from swarmcore.clock import Clock
from swarmcore.errors import Forbidden, SwarmError, Unauthenticated, Unavailable
from swarmcore.ids import NewId
from swarmcore.model.cluster import Cluster
from swarmcore.model.node import Node, NodeRole, NodeSpec
from swarmcore.rpc.messages.ca import (
    ForwardedIssue,
    GetRootCertificate,
    IssueCertificate,
    IssuedCertificate,
    RootCertificate,
)
from swarmcore.rpc.rates import Rate
from swarmcore.rpc.refusals import Refusals
from swarmcore.rpc.server import Peer, RpcServer

log = logging.getLogger(__name__)
FORWARD_TIMEOUT = 10.0  # seconds
MANAGERS = frozenset({NodeRole.MANAGER})
#: Each certificate is an entry of the swarm's log: so many at once for one node (it may be promoted and demoted in
#: turns), then one in so many seconds.
BURST, PERIOD = 20, 5.0


class InvalidJoinToken(Unauthenticated):
    hint = 'get the current one with "pyswarm join-token worker" (or manager) on a manager'


class TooOften(Forbidden):
    status = 429
    hint = "check the node's clock: to it each new certificate may look as if it were about to end"


class CAServer:
    def __init__(self, store: Store, leader: Leader, *, clock: Clock, new_id: NewId) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._refusals = Refusals(clock)
        self._rate = Rate(clock, burst=BURST, period=PERIOD)
        self.on_leader = OnLeader(
            leader, ForwardedIssue, IssuedCertificate, self._issue, timeout=FORWARD_TIMEOUT
        )

    def register(self, server: RpcServer) -> None:
        server.call(GetRootCertificate, self.root_certificate, roles=None)
        server.call(IssueCertificate, self.issue, roles=None)
        self.on_leader.register(server)

    def unregister(self, server: RpcServer) -> None:
        for request in (GetRootCertificate, IssueCertificate):
            server.unregister(request)
        self.on_leader.unregister(server)

    async def root_certificate(self, peer: Peer | None, request: GetRootCertificate) -> RootCertificate:
        return RootCertificate(root_pem=_cluster(self._store.view()).root_ca.ca_cert)

    async def issue(self, peer: Peer | None, request: IssueCertificate) -> IssuedCertificate:
        node_id = peer.node_id if peer else None
        address = peer.address if peer else ""
        return await self.on_leader.ask(ForwardedIssue(request=request, node_id=node_id, address=address))

    async def _issue(self, wanted: ForwardedIssue) -> IssuedCertificate:
        try:
            if wanted.node_id is not None:
                self._check_rate(wanted.node_id)
            issued = await self._store.transact(lambda tx: self._sign(tx, wanted.request, wanted.node_id))
        except SwarmError as error:
            if error.status < 500:
                self._refusals.note(wanted.address, f"certificate request: {error}")
            raise
        log.info(
            "certificate issued",
            extra={"node": issued.node_id, "role": str(issued.role), "peer": wanted.address},
        )
        return issued

    def _check_rate(self, node_id: str) -> None:
        if self._rate.spend(node_id):
            raise TooOften(f"node {node_id} asks for certificates too often: try again in a few seconds")

    def _sign(self, tx: Tx, request: IssueCertificate, node_id: str | None) -> IssuedCertificate:
        cluster = _cluster(tx)
        node = (
            self._joining(tx, cluster, request) if node_id is None else self._renewing(tx, cluster, node_id)
        )
        check_csr(request.csr)
        joins = node.id not in tx.nodes
        root = RootAuthority(cluster.root_ca.ca_cert, cluster.root_ca.ca_key, self._clock)
        # The role is the store's at this moment, never what the old certificate or the request says.
        cert_pem = root.sign(request.csr, node.id, node.role, cluster.id, certificate_life(cluster.spec))
        node = tx.nodes.put(replace(node, certificate=issued_certificate(node.role, request.csr, cert_pem)))
        if joins:
            make_room(tx, node)
        return IssuedCertificate(
            node_id=node.id,
            role=node.role,
            cluster_id=cluster.id,
            cert_pem=cert_pem,
            root_pem=root.cert_pem,
        )

    def _joining(self, tx: Tx, cluster: Cluster, request: IssueCertificate) -> Node:
        role = self._role_of(request.token, cluster)
        for node in tx.nodes:
            # The answer to an earlier attempt was lost: only the owner of that key can use it.
            if node.certificate is not None and node.certificate.csr == request.csr and node.role is role:
                return node
        told = checked_description(request.description) if request.description is not None else None
        spec = NodeSpec(role=role, availability=request.availability)
        return accepted_node(self._new_id(), spec, description=told)

    @staticmethod
    def _role_of(token: str, cluster: Cluster) -> NodeRole:
        tokens = cluster.root_ca.join_tokens
        # Both are compared whatever the first says: the time tells nothing.
        manager, worker = same_token(token, tokens.manager), same_token(token, tokens.worker)
        if manager:
            return NodeRole.MANAGER
        if worker:
            return NodeRole.WORKER
        raise InvalidJoinToken("a valid join token is necessary to join this swarm")

    def _renewing(self, tx: Tx, cluster: Cluster, node_id: str) -> Node:
        refuse_the_removed(cluster, node_id, self._clock)
        node = tx.nodes.get(node_id)
        if node is None:
            raise removed(node_id)
        return node


class Admission:
    """The listener's second question on every call, after the certificate's own: is this node still of the swarm?"""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def __call__(self, peer: Peer) -> None:
        for cluster in self._store.view().clusters:
            refuse_the_removed(cluster, peer.node_id, self._clock)


def refuse_the_removed(cluster: Cluster, node_id: str, clock: Clock) -> None:
    """Raises for a node that was removed, and says so if a recovery of the swarm did that."""
    if node_id in cluster.left_behind:
        raise superseded(cluster.generation)
    if is_blacklisted(cluster, node_id, clock):
        raise removed(node_id)


def removed(node_id: str) -> Unauthenticated:
    return Unauthenticated(
        f"node {node_id} was removed from the swarm",
        'run "pyswarm leave --force" on it, then join it again with a join token',
    )


def is_blacklisted(cluster: Cluster, node_id: str, clock: Clock) -> bool:
    until = cluster.blacklisted_certificates.get(node_id)
    return until is not None and clock.now() < until


def _cluster(tables: Tables) -> Cluster:
    for cluster in tables.clusters:
        return cluster
    raise Unavailable("this manager does not hold the swarm's state yet", "try again in a moment")
