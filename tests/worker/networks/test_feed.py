"""Network updates become tables that the host agrees with, and are confirmed then."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from swarmcore.aio import owned
from swarmcore.model.cluster import EncryptionKey
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayNetwork
from swarmcore.rpc.messages.networks import NetworkDelta, NetworkUpdate
from tests.fakes.virtual_time import LoopClock, run_virtual
from worker.networks.feed import NetworkFeed

SHOP = OverlayNetwork(id="n1", name="shop")


class Host:
    """Applies after `seconds`; fails as long as `failing` says."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.failing = seconds, 0
        self.applied: list[Mapping[str, NetworkTable]] = []
        self.hearsay: list[Mapping[str, NetworkTable]] = []

    def heard(self, tables: Mapping[str, NetworkTable]) -> None:
        self.hearsay.append(tables)

    def keys(self, keys: tuple[EncryptionKey, ...]) -> None:
        """No network of these tests is encrypted."""

    async def agree_with(self, tables: Mapping[str, NetworkTable]) -> None:
        await asyncio.sleep(self.seconds)
        if self.failing:
            self.failing -= 1
            raise OSError("the kernel said no")
        self.applied.append(tables)


def update(number: int, *endpoints: str, full: bool = False, more: bool = False) -> NetworkUpdate:
    delta = NetworkDelta(
        network_id="n1",
        reset=full,
        network=SHOP if full else None,
        endpoints=tuple(OverlayEndpoint(id=name, node_id="w1", name=name) for name in endpoints),
    )
    return NetworkUpdate(
        applies_to=number - 1, results_in=number, revision=number, full=full, more=more, deltas=(delta,)
    )


def endpoints(tables: Mapping[str, NetworkTable]) -> set[str]:
    return set(tables["n1"].endpoints)


def test_an_update_is_confirmed_when_the_host_agrees() -> None:
    async def story() -> None:
        host = Host(seconds=3)
        feed = NetworkFeed(host, LoopClock())
        feed.told(update(1, "a", full=True))
        assert endpoints(host.hearsay[0]) == {"a"}
        assert host.applied == []
        assert await feed.applied() == 1
        assert endpoints(host.applied[0]) == {"a"}

    run_virtual(story())


def test_what_comes_during_a_change_is_applied_together() -> None:
    async def story() -> None:
        host = Host(seconds=1)
        feed = NetworkFeed(host, LoopClock())
        feed.told(update(1, "a", full=True))
        async with owned(feed.applied(), "first") as first:
            await asyncio.sleep(0.5)
            feed.told(update(2, "b"))
            feed.told(update(3, "c"))
            assert await first == 1
        assert await feed.applied() == 3
        assert [endpoints(tables) for tables in host.applied] == [{"a"}, {"a", "b", "c"}]

    run_virtual(story())


def test_the_parts_of_an_update_count_as_one() -> None:
    async def story() -> None:
        host = Host()
        feed = NetworkFeed(host, LoopClock())
        feed.told(update(1, "a", full=True, more=True))
        assert host.hearsay == []
        feed.told(update(2, "b"))
        assert await feed.applied() == 2
        assert endpoints(host.applied[0]) == {"a", "b"}

    run_virtual(story())


def test_a_failure_is_tried_again_and_not_confirmed() -> None:
    async def story() -> None:
        host = Host()
        host.failing = 2
        feed = NetworkFeed(host, LoopClock())
        feed.told(update(1, "a", full=True))
        clock = LoopClock()
        assert await feed.applied() == 1
        assert clock.monotonic() >= 2
        assert len(host.applied) == 1

    run_virtual(story())


def test_a_new_session_replaces_everything_and_counts_anew() -> None:
    async def story() -> None:
        host = Host()
        feed = NetworkFeed(host, LoopClock())
        feed.told(update(1, "a", full=True))
        feed.told(update(2, "b"))
        assert await feed.applied() == 2
        feed.start_over()
        feed.told(update(1, "c", full=True))
        assert await feed.applied() == 1
        assert endpoints(host.applied[-1]) == {"c"}

    run_virtual(story())
