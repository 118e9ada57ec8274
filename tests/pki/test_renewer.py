from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.contexts import Contexts
from pki.identity import Identity
from pki.renewer import LEAST_DELAY, Renewer, renewal_time
from pki.root import BACKDATE, NODE_LIFE, RootAuthority
from swarmcore.aio import owned
from swarmcore.errors import Internal, Unavailable
from swarmcore.model.node import NodeRole
from swarmcore.rpc.messages.ca import IssuedCertificate
from tests.pki.clock import ManualClock, settle
from tests.pki.nodes import CLUSTER, node

LIFE = timedelta(days=4)
W, M = NodeRole.WORKER, NodeRole.MANAGER


class Manager:
    """Issues certificates of `role`; fails as often as `failures` says."""

    def __init__(self, root: RootAuthority) -> None:
        self.root = root
        self.role = W
        self.failures = 0
        self.calls: list[bytes] = []
        self.node_id = "node1"

    async def issue(self, csr: bytes) -> IssuedCertificate:
        self.calls.append(csr)
        if self.failures:
            self.failures -= 1
            raise Unavailable("cannot reach the manager")
        return IssuedCertificate(
            node_id=self.node_id,
            role=self.role,
            cluster_id=CLUSTER,
            cert_pem=self.root.sign(csr, self.node_id, self.role, CLUSTER, LIFE),
            root_pem=self.root.cert_pem,
        )


class Scene:
    def __init__(self, tmp_path: Path, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.manager = Manager(RootAuthority.create(self.clock))
        self.keystore = node(self.manager.root, tmp_path, life=LIFE)
        self.contexts = Contexts(self.keystore)
        self.told: list[Identity] = []
        self.renewer = Renewer(
            self.keystore,
            self.contexts,
            self.manager.issue,
            clock=self.clock,
            random=Random(seed),
            on_renewed=self.told.append,
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(20_000):
            await settle()
            if condition():
                return
            await self.clock.advance_to_next()
        raise AssertionError("it never came true")

    async def until_called(self, times: int) -> None:
        await self.until(lambda: len(self.manager.calls) == times)


@given(seed=st.integers(), life=st.timedeltas(timedelta(hours=1), timedelta(days=400)))
def test_renewal_falls_between_50_and_80_percent_of_the_life(seed: int, life: timedelta) -> None:
    issued = datetime.fromisoformat("2031-01-01T00:00:00+00:00")
    due = renewal_time(issued - BACKDATE, issued + life, Random(seed))
    assert 0.499999 * life <= due - issued <= 0.800001 * life


def test_renewals_of_many_nodes_are_spread() -> None:
    issued = datetime.fromisoformat("2031-01-01T00:00:00+00:00")
    random = Random(1)
    days = {(renewal_time(issued - BACKDATE, issued + NODE_LIFE, random) - issued).days for _ in range(1000)}
    assert len(days) > 20


@pytest.mark.parametrize("seed", range(3))
async def test_a_node_renews_in_time_again_and_again(tmp_path: Path, seed: int) -> None:
    scene = Scene(tmp_path, seed)
    async with owned(scene.renewer.run(), "renewer"):
        for turn in (1, 2):
            born = scene.clock.now()
            await scene.until_called(turn)
            assert 0.5 <= (scene.clock.now() - born) / LIFE <= 0.81
            await settle()
            assert scene.keystore.not_after == (scene.clock.now() + LIFE).replace(microsecond=0)
    assert scene.told == []  # same role: nobody needs to know
    assert len(set(scene.manager.calls)) == 2  # a new key each time


async def test_a_failed_renewal_is_tried_again_within_5_seconds_and_then_ever_more_rarely(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    scene.manager.failures = 40
    async with owned(scene.renewer.run(), "renewer"):
        await scene.until(lambda: len(scene.manager.calls) == 1)
        first = scene.clock.now()
        await scene.until(lambda: len(scene.manager.calls) == 2)
        assert scene.clock.now() - first <= timedelta(seconds=5)
        gaps = []
        for call in range(3, 42):
            before = scene.clock.now()
            await scene.until_called(call)
            gaps.append(scene.clock.now() - before)
        assert max(gaps) <= timedelta(hours=1)
        assert max(gaps) > timedelta(minutes=10)
        await settle()
        assert scene.keystore.not_after == (scene.clock.now() + LIFE).replace(microsecond=0)


async def test_a_clock_to_which_new_certificates_are_old_does_not_renew_without_end(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    root = scene.manager.root  # certificates are dated by the managers' clock, which is behind
    behind = ManualClock(scene.clock.now() - 0.9 * LIFE)
    scene.manager.root = RootAuthority(root.cert_pem, root.key_pem, behind)
    async with owned(scene.renewer.run(), "renewer"):
        began = scene.clock.now()
        await scene.until(lambda: len(scene.manager.calls) == 5)
        assert scene.clock.now() - began >= timedelta(seconds=4 * LEAST_DELAY)
        scene.manager.role = M
        before = scene.clock.now()
        scene.renewer.role_is(M)  # a role does not wait
        await scene.until(lambda: bool(scene.told))
        assert scene.clock.now() == before


async def test_a_changed_role_renews_at_once_and_is_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    async with owned(scene.renewer.run(), "renewer"):
        await settle()
        scene.renewer.role_is(W)
        await settle()
        assert scene.manager.calls == []
        scene.manager.role = M
        before = scene.clock.now()
        scene.renewer.role_is(M)
        await scene.until(lambda: bool(scene.told))
        assert scene.clock.now() == before
        assert (scene.keystore.role, scene.told[0].role) == (M, M)
        scene.renewer.role_is(M)
        await settle()
        assert len(scene.manager.calls) == 1


async def test_a_renewal_that_brings_the_old_role_is_tried_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    async with owned(scene.renewer.run(), "renewer"):
        await settle()
        scene.renewer.role_is(M)
        await scene.until(lambda: len(scene.manager.calls) == 2)
        assert scene.keystore.role is W
        scene.manager.role = M
        await scene.until(lambda: scene.keystore.role is M)
        assert [identity.role for identity in scene.told] == [M]


async def test_a_forced_renewal_does_not_wait_for_the_backoff(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.manager.failures = 15
    async with owned(scene.renewer.run(), "renewer"):
        await scene.until(lambda: len(scene.manager.calls) == 14)
        calls, before = len(scene.manager.calls), scene.clock.now()
        scene.renewer.force()
        await settle()
        assert len(scene.manager.calls) == calls + 1
        assert scene.clock.now() == before


async def test_another_nodes_certificate_is_not_taken(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.manager.node_id = "node2"
    with pytest.raises(Internal, match="another node's"):
        await scene.renewer.renew()
    assert scene.keystore.node_id == "node1"


async def test_the_context_objects_stay_the_same(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    server, client = scene.contexts.server, scene.contexts.client_now()
    await scene.renewer.renew()
    assert scene.contexts.server is server
    assert scene.contexts.client_now() is client
    assert client.minimum_version is ssl.TLSVersion.TLSv1_3
