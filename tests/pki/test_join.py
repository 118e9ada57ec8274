from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec
import pytest

from pki.contexts import client_context
from pki.join import Dial, Joined, WrongRoot, join, verification_failure
from pki.keystore import KeyStore
from pki.root import RootAuthority
from pki.tokens import InvalidToken, new_join_token
from swarmcore.errors import Invalid, NoLeader, SwarmError, Unauthenticated, Unavailable
from swarmcore.model.node import NodeRole
from swarmcore.rpc.messages.ca import GetRootCertificate, IssueCertificate, IssuedCertificate, RootCertificate
from tests.fakes.raft import StepClock
from tests.pki.nodes import CLUSTER

R = TypeVar("R", bound=msgspec.Struct)
ADDRESS = "10.0.0.1:2377"


class Network:
    """Managers by address; records what each connection sent and how it was verified."""

    def __init__(self, root: RootAuthority) -> None:
        self.root = root
        self.token = new_join_token(root.cert_pem)
        self.alive = {ADDRESS}
        self.answers: list[SwarmError] = []  # for the next IssueCertificate calls
        self.sent: list[tuple[str, str, ssl.VerifyMode]] = []
        self.requests: list[IssueCertificate] = []
        self.open = 0

    def dial(self, context: Callable[[], ssl.SSLContext]) -> Line:
        self.open += 1
        return Line(self, context)


class Line:
    def __init__(self, network: Network, context: Callable[[], ssl.SSLContext]) -> None:
        self.network, self.context = network, context

    async def call(self, address: str, request: msgspec.Struct, reply: type[R], *, timeout: float = 5.0) -> R:
        net = self.network
        net.sent.append((address, type(request).__name__, self.context().verify_mode))
        if address not in net.alive:
            raise Unavailable(f"cannot reach {address}: connection refused")
        answer: msgspec.Struct
        if isinstance(request, GetRootCertificate):
            answer = RootCertificate(root_pem=net.root.cert_pem)
        else:
            assert isinstance(request, IssueCertificate)
            net.requests.append(request)
            if net.answers:
                raise net.answers.pop(0)
            if request.token != net.token:
                raise Unauthenticated("a valid join token is necessary to join this swarm")
            answer = IssuedCertificate(
                node_id="node7",
                role=NodeRole.WORKER,
                cluster_id=CLUSTER,
                cert_pem=net.root.sign(request.csr, "node7", NodeRole.WORKER, CLUSTER),
                root_pem=net.root.cert_pem,
            )
        return msgspec.convert(answer, reply, from_attributes=True)

    async def close(self) -> None:
        self.network.open -= 1


async def attempt(network: Network, token: str, *addresses: str) -> Joined:
    dial: Dial = network.dial
    try:
        return await join(dial, addresses or (ADDRESS,), token, clock=StepClock(), random=Random(1))
    finally:
        assert network.open == 0


async def test_the_root_is_pinned_before_the_token_is_sent(root: RootAuthority, tmp_path: Path) -> None:
    network = Network(root)
    joined = await attempt(network, f" {network.token}\n")
    assert network.sent == [
        (ADDRESS, "GetRootCertificate", ssl.CERT_NONE),
        (ADDRESS, "IssueCertificate", ssl.CERT_REQUIRED),
    ]
    keystore = KeyStore(tmp_path)
    joined.save(keystore)
    assert (keystore.node_id, keystore.role, keystore.root_pem) == ("node7", NodeRole.WORKER, root.cert_pem)
    client_context(keystore)


async def test_a_token_of_another_swarm_is_never_sent(root: RootAuthority) -> None:
    network = Network(root)
    with pytest.raises(WrongRoot, match="does not belong to the swarm") as caught:
        await attempt(network, new_join_token(b"another root"))
    assert "join-token" in caught.value.hint
    assert network.requests == []


@pytest.mark.parametrize("cut", [3, 40, 80])
async def test_a_truncated_token_asks_nobody(root: RootAuthority, cut: int) -> None:
    network = Network(root)
    with pytest.raises(InvalidToken, match="truncated"):
        await attempt(network, network.token[:cut])
    assert network.sent == []


async def test_a_rotated_token_is_refused_at_once(root: RootAuthority) -> None:
    network = Network(root)
    with pytest.raises(Unauthenticated, match="valid join token"):
        await attempt(network, new_join_token(root.cert_pem), ADDRESS, "10.0.0.2:2377")
    assert len(network.requests) == 1


async def test_an_unreachable_manager_is_named_without_waiting(root: RootAuthority) -> None:
    network = Network(root)
    with pytest.raises(Unavailable, match=r"cannot reach 10\.0\.0\.9:2377"):
        await attempt(network, network.token, "10.0.0.9:2377")
    assert len(network.sent) == 1
    with pytest.raises(Unavailable, match=r"no manager could be reached: .*10\.0\.0\.8.*; .*10\.0\.0\.9"):
        await attempt(network, network.token, "10.0.0.8:2377", "10.0.0.9:2377")


async def test_a_dead_manager_sends_the_joiner_to_the_next(root: RootAuthority) -> None:
    network = Network(root)
    assert (await attempt(network, network.token, "10.0.0.9:2377", ADDRESS)).node_id == "node7"


async def test_an_election_is_waited_for_with_the_same_request(root: RootAuthority) -> None:
    network = Network(root)
    network.answers = [NoLeader("no leader"), NoLeader("no leader")]
    assert (await attempt(network, network.token)).node_id == "node7"
    assert len(network.requests) == 3
    assert len(set(network.requests)) == 1


async def test_patience_ends(root: RootAuthority) -> None:
    network = Network(root)
    network.answers = [NoLeader("no leader")] * 1000
    with pytest.raises(NoLeader):
        await attempt(network, network.token)
    assert len(network.requests) < 100


async def test_an_expired_manager_certificate_is_explained(root: RootAuthority) -> None:
    network = Network(root)
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refused.verify_message = "certificate has expired"
    wrapped = Unavailable("cannot connect")
    wrapped.__cause__ = OSError("tls")
    wrapped.__cause__.__cause__ = refused
    network.answers = [wrapped]
    assert verification_failure(wrapped) is refused
    with pytest.raises(
        Unavailable, match=r"manager at 10\.0\.0\.1:2377 is refused: certificate has expired"
    ) as caught:
        await attempt(network, network.token)
    assert "clocks" in caught.value.hint


async def test_no_address_is_told(root: RootAuthority) -> None:
    with pytest.raises(Invalid, match="no manager address"):
        await join(Network(root).dial, (), "x", clock=StepClock(), random=Random(1))
