"""The cluster state in memory: transactions that commit through raft, views that never change, feeds of commits.

Law: a transaction commits only on top of the very state it was made from. Its entry names the
index of that state, and `apply` rejects it on every manager alike if another commit came between
(an entry of a former leader that surfaced late, an outcome nobody knew). So no transaction needs
to guard against what it did not see: not versions, not names, not slots filled by someone else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast

from msgspec.structs import replace

from manager.raft.proposer import Proposer
from manager.store.batch import batch
from manager.store.group import Group, Job, answer
from manager.store.outcomes import Outcomes
from manager.store.share import shared_parts
from manager.store.snapshot import Entry, decode_entry, dump, encode_entry, load
from manager.store.tables import SCHEMAS, Table, View
from manager.store.tx import MAX_CHANGES, Overtaken, Tx
from manager.store.watch import Change, Commit, Feed, Kinds
from swarmcore.clock import Clock
from swarmcore.errors import NoLeader, OutcomeUnknown
from swarmcore.model.base import Object, Version
from swarmcore.model.task import Task

log = logging.getLogger(__name__)
R = TypeVar("R")
T = TypeVar("T")
FEED_LIMIT = 4096


class Store:
    """Raft's state machine (`apply`, `snapshot`, `restore`) and everyone's source of truth."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._index = 0
        self._tables: dict[str, Table[Any]] = {schema.name: Table(schema) for schema in SCHEMAS}
        self._view: View | None = None
        self._feeds: set[Feed] = set()
        self._writer = asyncio.Lock()
        self._jobs: deque[Job] = deque()  # transactions that wait for their turn
        self._proposer: Proposer | None = None
        self._caught_up_in = -1  # the term in which this leader has applied all that came before it
        self._rejected: deque[int] = deque(maxlen=1024)
        self._outcomes = Outcomes()
        self._proposed: tuple[bytes, list[Object | None]] | None = (
            None  # this leader's entry that is on its way
        )

    def attach(self, proposer: Proposer) -> None:
        """Give the store its way to raft; before that it can be read and restored only."""
        self._proposer = proposer

    # -- reading ---------------------------------------------------------------------------------

    def view(self) -> View:
        """The state now, as this manager knows it; call `read_barrier` first where it must be the latest."""
        if self._view is None:
            self._view = View(index=self._index, **{n: t.freeze() for n, t in self._tables.items()})
        return self._view

    @contextmanager
    def watch(self, limit: int = FEED_LIMIT, *, kinds: Kinds | None = None) -> Iterator[Feed]:
        """All commits from now on, or those that change an object of `kinds`.

        Read a view after this, not before, or use `view_and_watch`.
        """
        feed = Feed(limit, kinds)
        self._feeds.add(feed)
        try:
            yield feed
        finally:
            self._feeds.discard(feed)

    @contextmanager
    def view_and_watch(
        self, limit: int = FEED_LIMIT, *, kinds: Kinds | None = None
    ) -> Iterator[tuple[View, Feed]]:
        """The state now and all commits after it."""
        with self.watch(limit, kinds=kinds) as feed:
            yield self.view(), feed

    # -- writing ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def update(self) -> AsyncIterator[Tx]:
        """The block commits as one raft entry; if the block raises, nothing is proposed.

        NoLeader, OutOfSequence: nothing happened. OutcomeUnknown: it may still commit later, read
        again. Do not wait for anything but the store in the block: all other writers wait for it.
        """
        async with self._writer:
            proposer = await self._catch_up()
            tx = Tx(self.view(), self._clock.now, self._outcomes)
            yield tx
            await self._commit(proposer, tx)

    async def transact(self, change: Callable[[Tx], R]) -> R:
        """As `update`, for a block given as a function: it may run several times, and shares entries with others.

        Whoever gets its turn to write takes along all that waits: under load one entry serves many.
        """
        job = Job(change)
        self._jobs.append(job)
        try:
            async with self._writer:
                while job in self._jobs:
                    await self._commit_jobs()
        finally:
            if job in self._jobs:  # cancelled, or this manager does not lead
                self._jobs.remove(job)
        return cast(R, answer(job))

    async def _commit_jobs(self) -> None:
        proposer = await self._catch_up()
        group = Group(Tx(self.view(), self._clock.now, self._outcomes))
        group.take(self._jobs)
        try:
            await self._commit(proposer, group.tx)
        except Overtaken as error:
            group.overtaken(self._jobs, error)
        except asyncio.CancelledError:
            group.fail(OutcomeUnknown("the write was given up while it was under way"))
            raise
        except Exception as error:  # noqa: BLE001 - each of the group raises it for itself
            group.fail(error)

    async def batch(
        self, items: Iterable[T], change: Callable[[Tx, T], None], *, limit: int = MAX_CHANGES
    ) -> None:
        """Run `change(tx, item)` for every item, in as many entries as it takes; see batch.py."""
        await batch(self.update, items, change, limit=limit)

    async def _catch_up(self) -> Proposer:
        """A new leader may not have applied all entries of former terms: its writes would be overtaken."""
        assert self._proposer is not None, "the store is not attached to raft"
        if not self._proposer.is_leader:
            raise NoLeader("this manager does not lead the swarm")
        if (term := self._proposer.term) != self._caught_up_in:
            await self._proposer.read_barrier()
            self._caught_up_in = term
        return self._proposer

    async def _commit(self, proposer: Proposer, tx: Tx) -> None:
        tx.check()
        writes = list(tx.writes())
        if not writes:
            return
        data = encode_entry(tx.base, writes, tx.raw, tx.outcomes())
        self._proposed = data, [obj for _, _, obj in writes]
        try:
            # Nothing is visible before a quorum holds it: apply() is what raft calls on every
            # manager, this one included, before propose returns.
            index = await proposer.propose(data)
        except OutcomeUnknown:
            self._caught_up_in = -1  # it may surface: look for it before the next write
            raise
        finally:
            self._proposed = None
        if index in self._rejected:
            raise Overtaken("another change was committed at the same moment")

    # -- raft's side -----------------------------------------------------------------------------

    def apply(self, data: bytes, index: int) -> None:
        """Deterministic: the same log gives the same state and the same rejections everywhere."""
        entry = decode_entry(data)
        if entry.base != self._index:
            self._rejected.append(index)
            log.info(
                "entry rejected, it was made from an older state", extra={"index": index, "base": entry.base}
            )
            return
        version = Version(index=index)
        changes = []
        for write, given in zip(entry.writes, self._objects_of(data, entry), strict=True):
            table = self._editable(write.table)
            old = table.get(write.id)
            if given is None:
                table.remove(write.id)
                changes.append(Change(kind="remove", old=old, new=None))
                continue
            service = self._tables["services"].get(given.service_id) if isinstance(given, Task) else None
            new = replace(given, version=version, **shared_parts(given, old, service))
            table.set(new)
            changes.append(Change(kind="update" if old is not None else "create", old=old, new=new))
        self._outcomes.add(entry.outcomes)
        self._index = index
        self._view = None
        commit = Commit(index=index, changes=tuple(changes))
        kinds = commit.kinds()
        for feed in self._feeds:
            if feed.wants(kinds):
                feed.offer(commit)

    def _objects_of(self, data: bytes, entry: Entry) -> Iterable[Object | None]:
        """What the entry writes. Its own entry a leader need not decode: what it encoded equals what others read."""
        if self._proposed is not None and self._proposed[0] == data:
            return self._proposed[1]
        return (write.new() for write in entry.writes)

    def _editable(self, name: str) -> Table[Any]:
        table = self._tables[name] = self._tables[name].thawed()
        return table

    def snapshot(self) -> Callable[[], bytes]:
        view, outcomes = self.view(), tuple(self._outcomes)
        return lambda: dump(view, outcomes)

    def restore(self, data: bytes, index: int) -> None:
        """Replace everything by a snapshot that raft took at `index`; all feeds lag."""
        self._index, self._tables, self._outcomes = load(data)
        self._view = None
        log.info("state restored from a snapshot", extra={"index": index, "commit": self._index})
        for feed in self._feeds:
            feed.lag()
