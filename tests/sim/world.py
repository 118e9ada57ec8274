"""A virtual clock, and a network of ordered links that stall, break and lose what was on its way."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Protocol

import msgspec

from manager.raft.fence import Fence
from manager.raft.messages import Message

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Handle:
    """A timer that can be cancelled."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None

    def __call__(self) -> None:
        if self.callback is not None:
            self.callback()


class LocalClock:
    """A host's monotonic clock: it runs at its own rate and may leap ahead, never back."""

    def __init__(self) -> None:
        self.rate = 1.0
        self._ahead = 0.0

    def shows(self, time: float) -> float:
        return time * self.rate + self._ahead

    def leap(self, seconds: float) -> None:
        self._ahead += seconds


class Clock:
    """Events in the order of their time; reading the time takes a microsecond, so that it never stands still."""

    START = 1000.0

    def __init__(self) -> None:
        self.time = self.START
        self._events: list[tuple[float, int, Handle]] = []
        self._numbers = itertools.count()

    def shown_by(self, local: LocalClock) -> float:
        """What that host's clock shows now."""
        self.time += 1e-6
        return local.shows(self.time)

    @property
    def elapsed(self) -> float:
        return self.time - self.START

    def at(self, delay: float, callback: Callable[[], None]) -> Handle:
        handle = Handle(callback)
        heapq.heappush(self._events, (self.time + delay, next(self._numbers), handle))
        return handle

    def run_until(self, moment: float) -> None:
        while self._events and self._events[0][0] <= moment:
            due, _, handle = heapq.heappop(self._events)
            self.time = max(self.time, due)
            handle()
        self.time = max(self.time, moment)


class Endpoint(Protocol):
    """A member as the network sees it."""

    @property
    def alive(self) -> bool: ...
    @property
    def fence(self) -> Fence: ...

    def dials(self, other: str) -> bool: ...
    def deliver(self, sender: str, message: Message, still_up: Callable[[], bool]) -> None: ...
    def link_changed(self, other: str, up: bool) -> None: ...


class _Direction:
    def __init__(self) -> None:
        self.last_arrival = 0.0
        self.stalled = False
        self.queue: list[bytes] = []


class Network:
    """One connection a pair, like TCP: in order or not at all; a break loses what is under way."""

    BREAKS_AFTER = 3.0

    def __init__(self, clock: Clock, random: Random) -> None:
        self.clock = clock
        self.random = random
        self.endpoints: dict[str, Endpoint] = {}
        self.blocked: set[frozenset[str]] = set()
        self.slowest = 0.3
        self.slow_share = 0.03
        self.reconnect_every = 0.1
        #: Both ends of a new connection judge each other's generation.
        self.fenced = True
        #: These take no new connections; what is open goes on.
        self.closed: set[str] = set()
        self.sent = 0
        self._links: dict[frozenset[str], dict[str, _Direction]] = {}

    def keep_connecting(self) -> None:
        for one, other in itertools.combinations(sorted(self.endpoints), 2):
            if frozenset((one, other)) not in self._links and self.random.random() < 0.6:
                self.connect(one, other)
        self.clock.at(self.reconnect_every, self.keep_connecting)

    def connect(self, one: str, other: str) -> None:
        pair = frozenset((one, other))
        a, b = self.endpoints[one], self.endpoints[other]
        if pair in self._links or pair in self.blocked or not (a.alive and b.alive):
            return
        if not self.closed.isdisjoint((one, other)):
            return
        if self.fenced and not (a.fence.admits(b.fence.frame()) and b.fence.admits(a.fence.frame())):
            return
        if a.dials(other) or b.dials(one):
            self._links[pair] = {one: _Direction(), other: _Direction()}
            a.link_changed(other, True)
            b.link_changed(one, True)

    def disconnect(self, one: str, other: str) -> None:
        if self._links.pop(frozenset((one, other)), None) is not None:
            for end, peer in ((one, other), (other, one)):
                if self.endpoints[end].alive:
                    self.endpoints[end].link_changed(peer, False)

    def isolate(self, one: str) -> None:
        for other in self.endpoints:
            if other != one:
                self.disconnect(one, other)

    def send(self, sender: str, receiver: str, message: Message) -> bool:
        link = self._links.get(frozenset((sender, receiver)))
        if link is None:
            return False
        self.sent += 1
        raw = _encode(message)
        direction = link[sender]
        if direction.stalled:
            direction.queue.append(raw)
            return True
        fast = self.random.random() >= self.slow_share
        delay = self.random.uniform(0.0003, 0.006) if fast else self.random.uniform(0.01, self.slowest)
        direction.last_arrival = max(direction.last_arrival, self.clock.time + delay) + 1e-7
        self.clock.at(
            direction.last_arrival - self.clock.time, lambda: self._arrive(sender, receiver, link, raw)
        )
        return True

    def _arrive(self, sender: str, receiver: str, link: dict[str, _Direction], raw: bytes) -> None:
        pair = frozenset((sender, receiver))

        def still_up() -> bool:
            return self._links.get(pair) is link

        if not still_up():
            return
        if link[sender].stalled:
            link[sender].queue.append(raw)
        else:
            self.endpoints[receiver].deliver(sender, _decode(raw), still_up)

    def stall(self, sender: str, receiver: str, seconds: float) -> None:
        """Nothing arrives for a while; if that is long, the connection breaks."""
        link = self._links.get(frozenset((sender, receiver)))
        if link is None or link[sender].stalled:
            return
        direction = link[sender]
        direction.stalled = True

        def over() -> None:
            direction.stalled = False
            queue, direction.queue = direction.queue, []
            for place, raw in enumerate(queue):
                self.clock.at(place * 1e-7, partial(self._arrive, sender, receiver, link, raw))
            direction.last_arrival = max(direction.last_arrival, self.clock.time + len(queue) * 1e-7)

        def broken() -> None:
            if self._links.get(frozenset((sender, receiver))) is link:
                self.disconnect(sender, receiver)

        self.clock.at(min(seconds, self.BREAKS_AFTER), over if seconds < self.BREAKS_AFTER else broken)
