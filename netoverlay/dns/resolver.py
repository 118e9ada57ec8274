"""One container's messages and their answers, without sockets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from random import Random

from netoverlay.dns.answers import Answer, View
from netoverlay.dns.forward import Forwarder, Path, Send
from netoverlay.dns.limits import Counters, Limits
from netoverlay.dns.message import (
    AAAA,
    BADVERS,
    NXDOMAIN,
    A,
    Ignored,
    Query,
    Refused,
    answer_body,
    read_query,
    refusal,
)

SILENCE = b""

# Several addresses are given in this many orders, each of which begins with another one; after so many rounds
# they are shuffled anew. Without that, whatever follows a dead address in the order would get its whole load.
_ORDERS, _ROUNDS = 32, 4
_OVERHEAD = 400  # about what Python needs for a ready answer beside its bytes


class Resolver:
    """`ready` and `ready_streams` hold, by the whole question but its id, what to answer after the id.

    That is the hot path, and the reason for no parsing on it: clients ask the same few names again and again,
    with the same bytes. An iterator that ends is made anew. Whoever changes what the view sees calls `forget`.
    """

    def __init__(
        self,
        view: View,
        path: Path,
        forwarder: Forwarder,
        *,
        limits: Limits,
        counters: Counters,
        random: Random,
        ndots: int = 0,
    ) -> None:
        self._view, self._path, self._forwarder = view, path, forwarder
        self._limits, self.counters, self._random, self._ndots = limits, counters, random, ndots
        self.ready: dict[bytes, Iterator[bytes]] = {}
        self.ready_streams: dict[bytes, Iterator[bytes]] = {}
        self._used = 0

    def change(self, view: View, path: Path, ndots: int) -> None:
        self._view, self._path, self._ndots = view, path, ndots
        self.forget()

    def forget(self) -> None:
        self.ready.clear()
        self.ready_streams.clear()
        self._used = 0

    def answer(self, message: bytes, stream: bool, send: Send) -> bytes | None:
        """The answer, SILENCE for what deserves none, or None when `send` gets it later. Never raises."""
        ready = self.ready_streams if stream else self.ready
        bodies = ready.get(message[2:])
        if bodies is not None and (body := next(bodies, None)) is not None:
            self.counters.queries += 1
            return message[:2] + body
        return self._answer(message, stream, send)

    def _answer(self, message: bytes, stream: bool, send: Send) -> bytes | None:
        try:
            query = read_query(message)
        except Ignored:
            self.counters.malformed += 1
            return SILENCE
        except Refused as refused:
            self.counters.malformed += 1
            return refusal(message, refused.code)
        self.counters.queries += 1
        limit = query.limit(stream)
        if query.version:
            return message[:2] + answer_body(query, BADVERS, limit=limit)
        answer = self._view.answer(query)
        if answer is not None:
            bodies = self._bodies(query, answer, limit)
            body = next(bodies)
            if query.repeats:
                self._keep(message[2:], bodies, stream, len(body) * min(len(answer.records) or 1, _ORDERS))
            return message[:2] + body
        if self._ndots and query.type in (A, AAAA) and query.name and b"." not in query.name:
            # Who asked for dots wants a name without one to be tried in the search domains only.
            return message[:2] + answer_body(query, NXDOMAIN, limit=limit)
        return self._forwarder.ask(self._path, query, limit, send)

    def _keep(self, key: bytes, bodies: Iterator[bytes], stream: bool, size: int) -> None:
        self._used += size + len(key) + _OVERHEAD
        if self._used > self._limits.local_bytes:
            self.forget()  # somebody makes up questions: begin anew, which costs less than to keep an order
            self._used = size + len(key) + _OVERHEAD
        (self.ready_streams if stream else self.ready)[key] = bodies

    def _bodies(self, query: Query, answer: Answer, limit: int) -> Iterator[bytes]:
        if len(answer.records) < 2:
            return repeat(answer_body(query, 0, answer.records, answer.extras, limit=limit))
        return self._orders(query, answer, limit)

    def _orders(self, query: Query, answer: Answer, limit: int) -> Iterator[bytes]:
        order = list(answer.records)
        self._random.shuffle(order)
        amount = min(len(order), _ORDERS)
        bodies = []
        for number in range(amount):
            first = number * len(order) // amount
            bodies.append(answer_body(query, 0, order[first:] + order[:first], answer.extras, limit=limit))
            yield bodies[-1]
        for _ in range(_ROUNDS - 1):
            yield from bodies
