"""Questions that are not about the swarm: asked of the upstreams in order, once for all who ask the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable

from msgspec import Struct

from netoverlay.containers.sandboxes import SandboxSpec
from netoverlay.dns.cache import Cache
from netoverlay.dns.exchange import Opens, Upstream, exchange
from netoverlay.dns.limits import Counters, Limits
from netoverlay.dns.message import AD, CD, RCODE, RD, REFUSED, SERVFAIL, Malformed, Query, answer_body
from netoverlay.dns.resolv_conf import ADDRESS, MAX_UPSTREAMS
from netoverlay.dns.response import Response
from swarmcore.aio import Tasks
from swarmcore.errors import SwarmError

log = logging.getLogger(__name__)

Send = Callable[[bytes], None]


class Path:
    """Where one container's questions go. Answers are shared by all whose `key` is equal."""

    def __init__(self, upstreams: tuple[Upstream, ...], key: Hashable) -> None:
        self.upstreams, self.key = upstreams, key
        self.waiting = 0


def path_of(spec: SandboxSpec, namespace: Opens, home: Opens | None = None) -> Path:
    """A container without a way out does not get one through the host's name servers."""
    upstreams = []
    for address in spec.resolving.upstreams[:MAX_UPSTREAMS]:
        if address in spec.resolving.from_host:
            if spec.gateway:
                upstreams.append(Upstream(address=address, namespace=home))
        elif address != ADDRESS:  # there, that is ourselves
            upstreams.append(Upstream(address=address, namespace=namespace))
    addresses = tuple(each.address for each in upstreams)
    shared = all(each.namespace is home for each in upstreams)
    return Path(tuple(upstreams), ("" if shared else spec.id, addresses))


class _Waiting(Struct, frozen=True, kw_only=True):
    path: Path
    query: Query
    limit: int
    send: Send

    def body(self, response: Response | None, age: int = 0) -> bytes:
        if response is None:
            return answer_body(self.query, SERVFAIL, limit=self.limit)
        if not response.question:
            return answer_body(self.query, response.code & RCODE, limit=self.limit)
        return response.body(self.query, age, self.limit)


class Forwarder:
    """`ask` answers at once what it can; for the rest it calls `send` later, unless it is closed before."""

    def __init__(self, limits: Limits, counters: Counters) -> None:
        self._limits, self._counters = limits, counters
        self._cache = Cache(limits.cache_entries, limits.cache_bytes, limits.cache_seconds)
        self._under_way: dict[Hashable, list[_Waiting]] = {}
        self._waiting = 0
        self._tasks = Tasks()

    def ask(self, path: Path, query: Query, limit: int, send: Send) -> bytes | None:
        """A whole answer, or None: `send` gets it."""
        loop = asyncio.get_running_loop()
        ident = query.id.to_bytes(2, "big")
        waiting = _Waiting(path=path, query=query, limit=limit, send=send)
        key = _key(path, query)
        if (hit := self._cache.get(key, loop.time())) is not None:
            self._counters.cached += 1
            return ident + waiting.body(*hit)
        if not path.upstreams:
            self._counters.failures += 1
            return ident + waiting.body(None)
        if path.waiting >= self._limits.per_container or self._waiting >= self._limits.total:
            self._counters.refused += 1
            return ident + answer_body(query, REFUSED, limit=limit)
        self._counters.forwarded += 1
        path.waiting += 1
        self._waiting += 1
        # Joining those who ask the same also denies a forger many ids to guess at once (RFC 5452 4.3).
        if (others := self._under_way.get(key)) is not None:
            others.append(waiting)
        else:
            self._under_way[key] = [waiting]
            self._tasks.start(self._fetch(key, path, query), name="dns upstream")
        return None

    async def _fetch(self, key: Hashable, path: Path, query: Query) -> None:
        response: Response | None = None
        try:
            response = await self._first_answer(path, query)
        finally:
            waiting = self._under_way.pop(key)
            self._waiting -= len(waiting)
            for each in waiting:
                each.path.waiting -= 1
        if response is None:
            self._counters.failures += len(waiting)
        else:
            self._cache.put(key, response, asyncio.get_running_loop().time())
        for each in waiting:
            each.send(each.query.id.to_bytes(2, "big") + each.body(response))

    async def _first_answer(self, path: Path, query: Query) -> Response | None:
        for upstream in path.upstreams:
            try:
                response = await exchange(upstream, query, self._limits)
            except (OSError, Malformed, SwarmError) as error:
                log.debug("upstream failed", extra={"upstream": upstream.address, "error": repr(error)})
                continue
            # SERVFAIL and REFUSED may be of this server alone. Codes beyond the header's four bits are about
            # our own EDNS.
            if response.code not in (SERVFAIL, REFUSED) and response.code <= RCODE:
                return response
        return None

    async def close(self) -> None:
        await self._tasks.close()


def _key(path: Path, query: Query) -> Hashable:
    """All that an answer depends on. Type and class are not letters: only the name is lowered."""
    name, rest = query.question[:-4].lower(), query.question[-4:]
    return path.key, name + rest, query.flags & (RD | CD | AD), query.edns, query.dnssec
