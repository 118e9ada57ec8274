"""The ring of keys for encrypted overlays."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from manager.membership.key_manager import PERIOD, KeyManager, due, rotated
from manager.store.store import Store
from swarmcore.aio import owned
from swarmcore.model.cluster import Cluster, EncryptionKey, overlay_keys
from tests.fakes.raft import SoloRaft
from tests.fakes.virtual_time import LoopClock, run_virtual

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def counting() -> tuple[list[int], object]:
    made: list[int] = []

    def secret(size: int) -> bytes:
        made.append(size)
        return len(made).to_bytes(size, "big")

    return made, secret


def test_a_full_ring_drops_its_oldest_for_a_new_one() -> None:
    _, secret = counting()
    first = rotated((), NOW, secret)  # type: ignore[arg-type]
    assert [key.lamport_time for key in first] == [1, 2, 3]
    second = rotated(first, NOW + PERIOD, secret)  # type: ignore[arg-type]
    assert second[:2] == first[1:]
    assert [key.lamport_time for key in second] == [2, 3, 4]
    assert len({key.key for key in (*first, *second)}) == 4


def test_the_next_rotation_is_due_twelve_hours_after_the_last() -> None:
    _, secret = counting()
    keys = rotated((), NOW, secret)  # type: ignore[arg-type]
    assert due((), NOW) == timedelta()
    assert due(keys, NOW + timedelta(hours=2)) == timedelta(hours=10)
    assert due(keys, NOW + timedelta(days=3)) == timedelta()


def test_a_leader_fills_the_ring_and_rotates_it_and_keeps_other_keys() -> None:
    async def story() -> None:
        clock = LoopClock()
        store = Store(clock)
        store.attach(SoloRaft(store))
        other = EncryptionKey(subsystem="networking:other", key=b"x" * 16)
        async with store.update() as tx:
            tx.clusters.put(Cluster(id="c1", network_keys=(other,)))

        def held() -> Cluster:
            return next(iter(store.view().clusters))

        async with owned(KeyManager(store, clock).run(), "keys"):
            await asyncio.sleep(1)
            first = overlay_keys(held())
            assert len(first) == 3
        # Another leader takes over: the period goes on where it was.
        async with owned(KeyManager(store, clock).run(), "keys"):
            await asyncio.sleep(PERIOD.total_seconds() - 2)
            assert overlay_keys(held()) == first
            await asyncio.sleep(2)
            assert overlay_keys(held())[:2] == first[1:]
        assert other in held().network_keys

    run_virtual(story())


def test_keys_never_show_in_a_log() -> None:
    assert "secret" not in repr(EncryptionKey(subsystem="networking:ipsec", key=b"secret-secret-se"))
