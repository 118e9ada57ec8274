from __future__ import annotations

import logging
from datetime import timedelta
from typing import TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from manager.leader import Leader
from manager.membership.bootstrap import NewSwarm, new_swarm, seed
from manager.membership.ca_server import BURST, PERIOD, Admission, CAServer
from manager.membership.left_behind import leave_behind
from manager.raft.proposer import Member
from manager.store.store import Store
from pki.csr import make_csr
from pki.identity import identity_of
from pki.keys import new_key
from pki.root import RootAuthority, issued_by, load_certificate
from pki.tokens import new_join_token
from swarmcore.errors import (
    FailedPrecondition,
    Forbidden,
    Invalid,
    NoLeader,
    Superseded,
    Unauthenticated,
    Unavailable,
    WrongRole,
)
from swarmcore.ids import is_id, new_id
from swarmcore.model.cluster import Cluster
from swarmcore.model.generation import FIRST
from swarmcore.model.network import IPAMConfig, IPAMOptions, Network, NetworkSpec
from swarmcore.model.node import (
    Availability,
    EngineDescription,
    IssuanceState,
    NodeDescription,
    NodeRole,
    NodeState,
)
from swarmcore.rpc.messages.ca import ForwardedIssue, GetRootCertificate, IssueCertificate, IssuedCertificate
from swarmcore.rpc.server import Peer
from tests.fakes.raft import SoloRaft, StepClock

W, M = NodeRole.WORKER, NodeRole.MANAGER
R = TypeVar("R", bound=msgspec.Struct)


def request(token: str = "", availability: Availability = Availability.ACTIVE) -> IssueCertificate:
    return IssueCertificate(csr=make_csr(new_key()), token=token, availability=availability)


class Wire:
    """Carries a follower's forwarded calls to the leader, as an mTLS peer."""

    def __init__(self) -> None:
        self.leader: CAServer | None = None
        self.peer: Peer | None = None
        self.addresses: list[str] = []

    async def call(self, address: str, request: msgspec.Struct, reply: type[R], *, timeout: float = 5.0) -> R:
        self.addresses.append(address)
        assert self.leader is not None and self.peer is not None
        assert isinstance(request, ForwardedIssue)
        answer = await self.leader.on_leader.passed_on(self.peer, request)
        assert isinstance(answer, reply)
        return answer

    async def close(self) -> None:
        return


class Scene:
    """A leader and a follower of one swarm; every entry reaches both stores."""

    def __init__(self) -> None:
        self.clock = StepClock()
        self.swarm: NewSwarm = new_swarm(clock=self.clock, new_id=new_id)
        self.store, self.behind = Store(self.clock), Store(self.clock)
        leader_id = self.swarm.node.id
        self.raft = SoloRaft(self.store, self.behind, node_id=leader_id)
        self.follower_raft = SoloRaft(node_id="follower", address="10.0.0.2:2377")
        self.follower_raft.leading = False
        self.follower_raft.other_leader = Member(node_id=leader_id, address="10.0.0.1:2377")
        self.store.attach(self.raft)
        self.behind.attach(self.follower_raft)
        self.wire = Wire()
        self.leader = CAServer(
            self.store, Leader(self.store, self.raft, self.wire), clock=self.clock, new_id=new_id
        )
        self.follower = CAServer(
            self.behind, Leader(self.behind, self.follower_raft, self.wire), clock=self.clock, new_id=new_id
        )
        self.wire.leader = self.leader

    @property
    def cluster(self) -> Cluster:
        (cluster,) = self.store.view().clusters
        return cluster

    def token(self, role: NodeRole) -> str:
        tokens = self.cluster.root_ca.join_tokens
        return tokens.manager if role is M else tokens.worker

    def peer(self, node_id: str, role: NodeRole = W) -> Peer:
        return Peer(node_id=node_id, role=role, cluster_id=self.cluster.id, address="10.0.0.7")

    async def change(self, cluster: Cluster) -> None:
        async with self.store.update() as tx:
            tx.clusters.put(cluster)


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    await seed(scene.store, scene.swarm)
    return scene


async def test_anyone_gets_the_root_from_any_manager(scene: Scene) -> None:
    for server in (scene.leader, scene.follower):
        answer = await server.root_certificate(None, GetRootCertificate())
        assert answer.root_pem == scene.swarm.cluster.root_ca.ca_cert


async def test_a_manager_without_the_state_says_so() -> None:
    with pytest.raises(Unavailable, match="does not hold the swarm's state"):
        await Scene().leader.root_certificate(None, GetRootCertificate())


@pytest.mark.parametrize("role", [W, M])
async def test_the_token_decides_the_role_of_a_new_node(scene: Scene, role: NodeRole) -> None:
    asked = request(scene.token(role), Availability.DRAIN)
    issued = await scene.leader.issue(None, asked)
    assert is_id(issued.node_id)
    assert issued.role is role
    certificate = load_certificate(issued.cert_pem)
    assert issued_by(certificate, load_certificate(issued.root_pem))
    identity = identity_of(certificate)
    assert (identity.node_id, identity.role, identity.cluster_id) == (issued.node_id, role, scene.cluster.id)
    node = scene.store.view().nodes.get(issued.node_id)
    assert node is not None
    assert (node.role, node.spec.role, node.spec.availability) == (role, role, Availability.DRAIN)
    assert node.status.state is NodeState.UNKNOWN
    assert node.certificate is not None
    assert (node.certificate.pem, node.certificate.status) == (issued.cert_pem, IssuanceState.ISSUED)


async def test_a_wrong_missing_or_rotated_token_makes_no_node(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    old = scene.token(W)
    root = scene.cluster.root_ca
    tokens = replace(root.join_tokens, worker=new_join_token(root.ca_cert))
    await scene.change(replace(scene.cluster, root_ca=replace(root, join_tokens=tokens)))
    with caplog.at_level(logging.INFO):
        for token in ("", old, new_join_token(root.ca_cert), old[:-3]):
            with pytest.raises(Unauthenticated, match="valid join token"):
                await scene.leader.issue(None, request(token))
    assert len(scene.store.view().nodes) == 1
    assert [record.message for record in caplog.records] == ["peer refused"]
    assert all(old not in str(vars(record)) for record in caplog.records)
    assert (await scene.leader.issue(None, request(scene.token(W)))).role is W


async def test_a_bad_request_makes_no_node(scene: Scene) -> None:
    with pytest.raises(Invalid):
        await scene.leader.issue(None, IssueCertificate(csr=b"junk", token=scene.token(W)))
    assert len(scene.store.view().nodes) == 1


async def test_a_host_in_the_way_of_a_network_of_the_swarm_gets_no_certificate(scene: Scene) -> None:
    """The hosts of its network keep their addresses; a host elsewhere is let in, and described at once."""
    configs = IPAMOptions(configs=(IPAMConfig(subnet="10.0.0.0/20"),))
    async with scene.store.update() as tx:
        tx.networks.put(
            Network(id="shop", spec=NetworkSpec(name="shop", ipam_options=configs), ipam_options=configs)
        )
    for subnets, routes in ((("10.0.1.5/24",), ()), ((), ("10.0.1.0/24",))):
        told = NodeDescription(hostname="b", host_subnets=subnets, host_routes=routes)
        with pytest.raises(FailedPrecondition, match=r"overlaps with subnet 10\.0\.0\.0/20 of network shop"):
            await scene.leader.issue(None, replace(request(scene.token(W)), description=told))
        assert len(scene.store.view().nodes) == 1
    with pytest.raises(Invalid, match="at most 256 KiB"):
        large = NodeDescription(engine=EngineDescription(labels={"b": "b" * 300_000}))
        await scene.leader.issue(None, replace(request(scene.token(W)), description=large))
    told = NodeDescription(hostname="b", host_subnets=("10.0.16.5/24",))
    issued = await scene.leader.issue(None, replace(request(scene.token(W)), description=told))
    node = scene.store.view().nodes.get(issued.node_id)
    assert node is not None
    assert node.description == told


async def test_a_repeated_join_request_gets_the_same_node(scene: Scene) -> None:
    asked = request(scene.token(W))
    first, second = await scene.leader.issue(None, asked), await scene.leader.issue(None, asked)
    assert first.node_id == second.node_id
    assert len(scene.store.view().nodes) == 2


async def test_a_renewal_gets_the_role_of_the_store_and_not_of_the_old_certificate(scene: Scene) -> None:
    joined = await scene.leader.issue(None, request(scene.token(W)))
    async with scene.store.update() as tx:
        node = tx.nodes.get(joined.node_id)
        assert node is not None
        tx.nodes.put(replace(node, role=M))
    renewed = await scene.leader.issue(scene.peer(joined.node_id, W), request())
    assert (renewed.node_id, renewed.role) == (joined.node_id, M)
    assert identity_of(load_certificate(renewed.cert_pem)).role is M
    assert len(scene.store.view().nodes) == 2


async def test_a_removed_node_gets_no_certificate(scene: Scene) -> None:
    joined = await scene.leader.issue(None, request(scene.token(W)))
    peer, admit = scene.peer(joined.node_id), Admission(scene.store, scene.clock)
    admit(peer)
    until = scene.clock.now() + timedelta(days=97)
    await scene.change(replace(scene.cluster, blacklisted_certificates={joined.node_id: until}))
    with pytest.raises(Unauthenticated, match="was removed from the swarm"):
        await scene.leader.issue(peer, request())
    with pytest.raises(Unauthenticated, match="was removed from the swarm"):
        admit(peer)
    async with scene.store.update() as tx:
        tx.nodes.delete(joined.node_id)
    await scene.change(replace(scene.cluster, blacklisted_certificates={}))
    with pytest.raises(Unauthenticated, match="was removed from the swarm"):
        await scene.leader.issue(peer, request())


async def test_who_was_left_behind_by_a_recovery_is_told_so_and_gets_no_certificate(scene: Scene) -> None:
    joined = await scene.leader.issue(None, request(scene.token(M)))
    worker = await scene.leader.issue(None, request(scene.token(W)))
    own, now = scene.swarm.node.id, scene.clock.now()
    generation = FIRST.next("another", now)
    for _ in range(2):  # it may have been cut short, and is done again
        gone = await scene.store.transact(lambda tx: leave_behind(tx, {own}, generation, now))
    assert gone == ()
    assert {node.id for node in scene.store.view().nodes} == {own, worker.node_id}
    assert scene.cluster.left_behind == (joined.node_id,)
    admit, peer = Admission(scene.store, scene.clock), scene.peer(joined.node_id, M)
    for _ in range(2):
        with pytest.raises(Superseded, match=f"before it was recovered on {generation.date}"):
            admit(peer)
        with pytest.raises(Superseded):
            await scene.leader.issue(peer, request())
        await scene.change(replace(scene.cluster, blacklisted_certificates={}))  # for good, not for a time
    admit(scene.peer(worker.node_id))


async def test_a_node_that_asks_again_and_again_costs_few_entries_and_holds_up_nobody(scene: Scene) -> None:
    joined = await scene.leader.issue(None, request(scene.token(W)))
    other = await scene.leader.issue(None, request(scene.token(W)))
    entries, began = len(scene.raft.log), scene.clock.monotonic()
    refused = 0
    for _ in range(300):
        try:
            await scene.leader.issue(scene.peer(joined.node_id), request())
        except Forbidden as error:
            assert error.status == 429 and "too often" in str(error)
            refused += 1
    earned = (scene.clock.monotonic() - began) / PERIOD
    written = len(scene.raft.log) - entries
    assert written == 300 - refused <= BURST + earned + 1
    await scene.leader.issue(scene.peer(other.node_id), request())
    await scene.clock.sleep(PERIOD)
    await scene.leader.issue(scene.peer(joined.node_id), request())


async def test_a_blacklist_entry_ends(scene: Scene) -> None:
    past = scene.clock.now() - timedelta(days=1)
    await scene.change(replace(scene.cluster, blacklisted_certificates={"node1": past}))
    Admission(scene.store, scene.clock)(scene.peer("node1"))


async def test_a_follower_passes_joins_and_renewals_on_to_the_leader(scene: Scene) -> None:
    scene.wire.peer = scene.peer(scene.swarm.node.id, M)
    joined = await scene.follower.issue(None, request(scene.token(W)))
    renewed = await scene.follower.issue(scene.peer(joined.node_id), request())
    assert renewed.node_id == joined.node_id
    assert scene.wire.addresses == ["10.0.0.1:2377"] * 2
    assert isinstance(renewed, IssuedCertificate)
    assert scene.behind.view().nodes.get(joined.node_id) is not None


async def test_without_a_leader_the_joiner_is_told_to_wait(scene: Scene) -> None:
    scene.follower_raft.other_leader = None
    with pytest.raises(NoLeader, match="does not have a leader"):
        await scene.follower.issue(None, request(scene.token(W)))


async def test_a_forwarded_request_is_never_forwarded_again(scene: Scene) -> None:
    forwarded = ForwardedIssue(request=request(scene.token(W)), node_id=None, address="10.0.0.7")
    with pytest.raises(NoLeader):
        await scene.follower.on_leader.passed_on(scene.peer(scene.swarm.node.id, M), forwarded)
    assert scene.wire.addresses == []


async def test_only_who_is_a_manager_now_may_forward(scene: Scene) -> None:
    joined = await scene.leader.issue(None, request(scene.token(W)))
    forwarded = ForwardedIssue(request=request(), node_id=scene.swarm.node.id, address="10.0.0.7")
    for peer in (scene.peer(joined.node_id, M), scene.peer("stranger", M)):
        with pytest.raises(WrongRole, match="only a manager"):
            await scene.leader.on_leader.passed_on(peer, forwarded)


async def test_the_swarms_certificate_life_is_used(scene: Scene) -> None:
    spec = scene.cluster.spec
    shorter = replace(spec, ca_config=replace(spec.ca_config, node_cert_expiry=7200 * 1_000_000_000))
    await scene.change(replace(scene.cluster, spec=shorter))
    issued = await scene.leader.issue(None, request(scene.token(W)))
    left = load_certificate(issued.cert_pem).not_valid_after_utc - scene.clock.now()
    assert timedelta(seconds=7190) < left <= timedelta(seconds=7200)


def test_messages_do_not_show_the_token() -> None:
    token = new_join_token(RootAuthority.create().cert_pem)
    forwarded = ForwardedIssue(request=request(token), node_id=None, address="")
    assert token not in repr(forwarded)
