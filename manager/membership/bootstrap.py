"""How a swarm begins: the first root, the cluster object with its tokens, and the first manager with a certificate.

Pure but for the clock, the ids and the random keys: the daemon saves the identity, starts a raft of one under
`node.id`, and then `seed`s its store.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv4Network, ip_network

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from manager.rules.clashes import host_networks
from manager.rules.network_plan import DEFAULT_POOLS, DEFAULT_SUBNET_SIZE, free_beside, ingress_size
from manager.rules.swarm_spec import swarm_change
from manager.store.store import Store
from manager.store.tx import Tx
from pki.csr import make_csr
from pki.keys import PrivateKey, new_key
from pki.keystore import KeyStore
from pki.root import NODE_LIFE, RootAuthority, load_certificate
from pki.tokens import new_join_token, root_digest
from swarmcore.clock import Clock
from swarmcore.errors import FailedPrecondition, Invalid
from swarmcore.ids import NewId
from swarmcore.model.cluster import (
    DATA_PATH_PORT,
    DEFAULT_SWARM_SPEC,
    Cluster,
    JoinTokens,
    RootCA,
    SwarmSpec,
)
from swarmcore.model.node import (
    Availability,
    Certificate,
    IssuanceState,
    Membership,
    Node,
    NodeDescription,
    NodeRole,
    NodeSpec,
    TLSInfo,
)

MAX_POOLS = 256
LARGEST_SUBNET_SIZE = 30  # a /31 has no address left beside those of the network, its gateway and broadcasts


class NewSwarm(Struct, frozen=True, kw_only=True):
    cluster: Cluster
    node: Node
    key: PrivateKey
    cert_pem: bytes

    def save(self, keystore: KeyStore) -> None:
        keystore.save(self.key, self.cert_pem, self.cluster.root_ca.ca_cert)


def new_swarm(
    *,
    clock: Clock,
    new_id: NewId,
    spec: SwarmSpec | None = None,
    availability: Availability = Availability.ACTIVE,
    default_addr_pool: tuple[str, ...] = (),
    subnet_size: int = 0,
    data_path_port: int = 0,
    description: NodeDescription | None = None,
) -> NewSwarm:
    """Everything that `pyswarm init` makes before the first raft entry; what `spec` leaves out gets its default.

    `description` is what the first node knows of its host already: no network of the swarm is chosen before that.
    Invalid if the settings make no sense, have no behaviour, or leave no room beside the host's own networks.
    """
    settings = swarm_change(DEFAULT_SWARM_SPEC, spec or SwarmSpec())
    size = subnet_size or DEFAULT_SUBNET_SIZE
    pools = choose_pools(check_pools(default_addr_pool, subnet_size), size, description)
    authority = RootAuthority.create(clock)
    cluster = Cluster(
        id=new_id(),
        spec=settings,
        root_ca=root_ca(authority),
        tls_info=tls_info(authority),
        default_addr_pool=pools,
        subnet_size=size,
        data_path_port=data_path_port or DATA_PATH_PORT,
    )
    key = new_key()
    csr = make_csr(key)
    node_id = new_id()
    cert_pem = authority.sign(csr, node_id, NodeRole.MANAGER, cluster.id, certificate_life(cluster.spec))
    spec_of_node = NodeSpec(role=NodeRole.MANAGER, availability=availability)
    certificate = issued_certificate(NodeRole.MANAGER, csr, cert_pem)
    node = accepted_node(node_id, spec_of_node, certificate, description)
    return NewSwarm(cluster=cluster, node=node, key=key, cert_pem=cert_pem)


def choose_pools(wanted: tuple[str, ...], size: int, description: NodeDescription | None) -> tuple[str, ...]:
    """Those that are `wanted`, or the first of ours in which the host has no network and knows no way.

    Invalid where the host's networks leave no room for the ingress network.
    """
    host = host_networks(Node(id="", description=description))
    choices = (wanted,) if wanted else DEFAULT_POOLS
    for strict in (True, False):
        for choice in choices:
            pools = [IPv4Network(text) for text in choice]
            if free_beside(pools, ingress_size(pools, size), (), host, strict=strict) is not None:
                return choice
    listed = ", ".join(pool for choice in choices for pool in choice)
    found = ", ".join(str(each) for each in host)
    raise Invalid(
        f"no room for networks of the swarm in {listed} beside what this host uses: {found}",
        "name a pool that nobody uses with --default-addr-pool",
    )


def check_pools(pools: Sequence[str], size: int) -> tuple[str, ...]:
    """The pools in their shortest form. `size` is the prefix length of subnets taken from them, 0: the default."""
    if not 0 <= size <= LARGEST_SUBNET_SIZE:
        raise Invalid(f"subnet size is out of range: {size}", f"use 1 to {LARGEST_SUBNET_SIZE}")
    if len(pools) > MAX_POOLS:
        raise Invalid(f"{len(pools)} address pools: a swarm has at most {MAX_POOLS}")
    found: list[IPv4Network] = []
    for text in pools:
        try:
            pool = ip_network(text, strict=False)
        except ValueError as error:
            raise Invalid(f"invalid base pool {text}: {error}", "write it like 10.20.0.0/16") from None
        if not isinstance(pool, IPv4Network):
            raise Invalid(f"invalid base pool {text}: it is not IPv4", "IPv6 subnets need no pool")
        if (size or DEFAULT_SUBNET_SIZE) < pool.prefixlen:
            raise Invalid(
                f'invalid CIDR: "{text}". Subnet size is too small for pool: {size or DEFAULT_SUBNET_SIZE}'
            )
        for other in found:
            if pool.overlaps(other):
                raise Invalid(f"address pools {other} and {pool} overlap")
        found.append(pool)
    return tuple(map(str, found))


async def seed(store: Store, swarm: NewSwarm) -> None:
    """The first entry of the log. Repeating it is harmless; a store of another swarm is refused."""

    def change(tx: Tx) -> None:
        for cluster in tx.clusters:
            if cluster.id != swarm.cluster.id:
                raise FailedPrecondition("the store already holds a swarm")
            return
        tx.clusters.put(swarm.cluster)
        tx.nodes.put(swarm.node)

    await store.transact(change)


def certificate_life(spec: SwarmSpec) -> timedelta:
    nanoseconds = spec.ca_config.node_cert_expiry
    return timedelta(microseconds=nanoseconds // 1000) if nanoseconds else NODE_LIFE


def root_ca(authority: RootAuthority) -> RootCA:
    pem = authority.cert_pem
    tokens = JoinTokens(worker=new_join_token(pem), manager=new_join_token(pem))
    return RootCA(
        ca_cert=pem,
        ca_key=authority.key_pem,
        cert_hash=f"sha256:{root_digest(pem).hex()}",
        join_tokens=tokens,
    )


def tls_info(authority: RootAuthority) -> TLSInfo:
    return issued_by(authority.cert_pem)


def issued_by(root_pem: bytes) -> TLSInfo:
    """What a node tells of a certificate that this root has signed. Clients compare it with the swarm's, whole."""
    certificate = load_certificate(root_pem)
    return TLSInfo(
        trust_root=root_pem.decode("ascii"),
        cert_issuer_subject=certificate.subject.public_bytes(),
        cert_issuer_public_key=certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        ),
    )


def accepted_node(
    node_id: str,
    spec: NodeSpec,
    certificate: Certificate | None = None,
    description: NodeDescription | None = None,
) -> Node:
    """A node that the CA has just let in, with what it has told of its host; its agent tells the rest."""
    return Node(
        id=node_id,
        spec=spec,
        role=spec.role,
        certificate=certificate,
        membership=Membership.ACCEPTED,
        description=description,
    )


def issued_certificate(role: NodeRole, csr: bytes, pem: bytes) -> Certificate:
    return Certificate(role=role, csr=csr, pem=pem, status=IssuanceState.ISSUED)
