"""Joining and renewing as nodes do it: the CA behind the real listener, the real client, real certificates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from msgspec import Struct
from msgspec.structs import replace

from manager.leader import Leader
from manager.membership.bootstrap import NewSwarm, new_swarm, seed
from manager.membership.ca_server import Admission, CAServer
from manager.store.store import Store
from pki.contexts import Contexts
from pki.identity import identify
from pki.join import WrongRoot, join
from pki.keystore import KeyStore
from pki.renewer import Renewer, issue_through
from pki.tokens import new_join_token
from swarmcore.clock import RealClock
from swarmcore.errors import SwarmError, Unauthenticated, Unavailable, WrongRole
from swarmcore.ids import new_id
from swarmcore.model.node import NodeRole
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.ca import ForwardedIssue, IssueCertificate, IssuedCertificate
from swarmcore.rpc.server import Peer, RpcServer
from tests.fakes.raft import SoloRaft
from tests.pki.clock import ManualClock

CLOCK = RealClock()


class WhoAmI(Struct, frozen=True, kw_only=True, tag="who-am-i"):
    pass


class You(Struct, frozen=True, kw_only=True, tag="you"):
    node_id: str
    role: NodeRole


async def who_am_i(peer: Peer, request: WhoAmI) -> You:
    return You(node_id=peer.node_id, role=peer.role)


class Manager:
    def __init__(self, directory: Path, swarm: NewSwarm) -> None:
        self.swarm = swarm
        self.store = Store(CLOCK)
        self.raft = SoloRaft(self.store, node_id=swarm.node.id)
        self.store.attach(self.raft)
        self.keystore = KeyStore(directory / "manager")
        swarm.save(self.keystore)
        self.contexts = Contexts(self.keystore)
        self.client = RpcClient(self.contexts.client_now)
        self.rpc = RpcServer(
            lambda der: identify(der, self.keystore.cluster_id, CLOCK.now()), Admission(self.store, CLOCK)
        )
        ca = CAServer(self.store, Leader(self.store, self.raft, self.client), clock=CLOCK, new_id=new_id)
        ca.register(self.rpc)
        self.rpc.call(WhoAmI, who_am_i, roles=frozenset(NodeRole))
        self.address = ""

    def token(self, role: NodeRole) -> str:
        tokens = self.swarm.cluster.root_ca.join_tokens
        return tokens.manager if role is NodeRole.MANAGER else tokens.worker

    async def join(self, keystore: KeyStore, token: str, address: str = "") -> KeyStore:
        joined = await join(RpcClient, (address or self.address,), token, clock=CLOCK, random=Random(1))
        joined.save(keystore)
        return keystore


@asynccontextmanager
async def running(directory: Path, swarm: NewSwarm) -> AsyncIterator[Manager]:
    manager = Manager(directory, swarm)
    await seed(manager.store, swarm)
    await manager.rpc.start("127.0.0.1", 0, manager.contexts.server)
    manager.address = f"127.0.0.1:{manager.rpc.port}"
    try:
        yield manager
    finally:
        await manager.client.close()
        await manager.rpc.close()


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    async with running(tmp_path, new_swarm(clock=CLOCK, new_id=new_id)) as manager:
        yield manager


async def ask(manager: Manager, client: RpcClient) -> You:
    return await client.call(manager.address, WhoAmI(), You)


@pytest.mark.parametrize("role", list(NodeRole))
async def test_a_node_joins_and_is_known_by_its_certificate(
    manager: Manager, tmp_path: Path, role: NodeRole
) -> None:
    keystore = await manager.join(KeyStore(tmp_path / "node"), manager.token(role))
    assert keystore.role is role
    client = RpcClient(Contexts(keystore).client_now)
    try:
        assert await ask(manager, client) == You(node_id=keystore.node_id, role=role)
    finally:
        await client.close()


async def test_a_wrong_token_and_an_unreachable_manager_leave_nothing_behind(
    manager: Manager, tmp_path: Path
) -> None:
    token = manager.token(NodeRole.WORKER)
    cases: list[tuple[str, str, type[SwarmError]]] = [
        (new_join_token(b"another swarm"), "", WrongRoot),
        (new_join_token(manager.keystore.root_pem), "", Unauthenticated),
        (token, "127.0.0.1:1", Unavailable),
    ]
    for given, address, error in cases:
        with pytest.raises(error):
            await manager.join(KeyStore(tmp_path / "node"), given, address)
    assert not (tmp_path / "node").exists()
    assert len(manager.store.view().nodes) == 1


async def test_a_promotion_shows_in_the_next_call_and_a_renewal_drops_nothing(
    manager: Manager, tmp_path: Path
) -> None:
    keystore = await manager.join(KeyStore(tmp_path / "node"), manager.token(NodeRole.WORKER))
    contexts = Contexts(keystore)
    client = RpcClient(contexts.client_now)
    contexts.on_reload(client.refresh)
    renewer = Renewer(
        keystore, contexts, issue_through(client, lambda: manager.address), clock=CLOCK, random=Random(1)
    )
    try:
        assert (await ask(manager, client)).role is NodeRole.WORKER
        async with manager.store.update() as tx:
            node = tx.nodes.get(keystore.node_id)
            assert node is not None
            tx.nodes.put(replace(node, role=NodeRole.MANAGER))
        await renewer.renew()
        assert await ask(manager, client) == You(node_id=keystore.node_id, role=NodeRole.MANAGER)
    finally:
        await client.close()


async def test_a_removed_node_is_refused_everywhere(manager: Manager, tmp_path: Path) -> None:
    keystore = await manager.join(KeyStore(tmp_path / "node"), manager.token(NodeRole.WORKER))
    contexts = Contexts(keystore)
    client = RpcClient(contexts.client_now)
    issue = issue_through(client, lambda: manager.address)
    renewer = Renewer(keystore, contexts, issue, clock=CLOCK, random=Random(1))
    try:
        await ask(manager, client)
        async with manager.store.update() as tx:
            tx.nodes.delete(keystore.node_id)
            (cluster,) = tx.clusters
            ends = keystore.not_after + timedelta(days=7)
            tx.clusters.put(replace(cluster, blacklisted_certificates={keystore.node_id: ends}))
        for attempt in (ask(manager, client), renewer.renew()):
            with pytest.raises(Unauthenticated, match="was removed from the swarm"):
                await attempt
    finally:
        await client.close()


async def test_a_worker_cannot_ask_for_anothers_certificate(manager: Manager, tmp_path: Path) -> None:
    keystore = await manager.join(KeyStore(tmp_path / "node"), manager.token(NodeRole.WORKER))
    client = RpcClient(Contexts(keystore).client_now)
    forged = ForwardedIssue(
        request=IssueCertificate(csr=b""), node_id=manager.swarm.node.id, address="10.0.0.1"
    )
    try:
        with pytest.raises(WrongRole):
            await client.call(manager.address, forged, IssuedCertificate)
    finally:
        await client.close()


async def test_a_joiner_says_that_the_managers_certificate_has_expired(tmp_path: Path) -> None:
    past = ManualClock(CLOCK.now() - timedelta(days=200))
    async with running(tmp_path, new_swarm(clock=past, new_id=new_id)) as manager:
        with pytest.raises(Unavailable, match="is refused: certificate has expired") as caught:
            await manager.join(KeyStore(tmp_path / "node"), manager.token(NodeRole.WORKER))
        assert "clocks" in caught.value.hint
