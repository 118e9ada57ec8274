"""A transaction: reads its own writes over one view, checks versions and names, and is sent as one entry."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from manager.store.outcomes import Outcome, Outcomes
from manager.store.snapshot import encode_object
from manager.store.tables import BY_TYPE, SCHEMAS, Schema, Table, View
from swarmcore.errors import Conflict, Internal, Invalid, NotFound, OutOfSequence
from swarmcore.model.base import Object
from swarmcore.model.cluster import Cluster
from swarmcore.model.network import Network
from swarmcore.model.node import Node
from swarmcore.model.secret import Config, Secret
from swarmcore.model.service import Service
from swarmcore.model.task import Task

MAX_CHANGES = 200  # per entry: keeps one commit short for everyone who waits behind it
MAX_BYTES = 4 << 20  # per entry that several changes share
MAX_ENTRY = 12 << 20  # per entry that one change has alone: managers send each other at most 16 MiB at once
ATTEMPTS = 5  # of a transaction that others overtake
O = TypeVar("O", bound=Object)  # noqa: E741


class Overtaken(OutOfSequence):
    """Another commit came between a transaction's reads and its entry: nothing happened, do it again."""

    hint = "repeat the request"


class TooManyChanges(Internal):
    """A transaction outgrew one entry: a fault of ours, such work belongs in `Store.batch`."""


class TooLarge(Invalid):
    """One change alone is larger than an entry may be: it could not be sent to the other managers."""

    hint = "make it smaller"


class TxTable(Generic[O]):
    """A table as the transaction sees it: the view's rows under the rows it wrote."""

    def __init__(self, tx: Tx, base: Table[O]) -> None:
        self._tx = tx
        self._base = base
        self._own: Table[O] = Table(base.schema)  # rows written here
        self._touched: set[str] = set()  # ids whose row in the base no longer counts

    @property
    def schema(self) -> Schema[O]:
        return self._base.schema

    def get(self, id: str) -> O | None:
        return self._own.get(id) if id in self._touched else self._base.get(id)

    def find(self, index: str, key: Hashable) -> tuple[O, ...]:
        found = self._base.find(index, key)
        if not self._touched:
            return found
        kept = tuple(obj for obj in found if obj.id not in self._touched)
        return kept + self._own.find(index, key)

    def __iter__(self) -> Iterator[O]:
        yield from [obj for obj in self._base if obj.id not in self._touched]
        yield from list(self._own)

    def __len__(self) -> int:
        replaced = sum(id in self._base for id in self._touched)
        return len(self._base) - replaced + len(self._own)

    def __contains__(self, id: object) -> bool:
        return id in self._own if id in self._touched else id in self._base

    def in_base(self, id: str) -> bool:
        return id in self._base

    def put(self, obj: O) -> O:
        """Create or replace. `obj.version` is the version it was read at; a new object has version 0."""
        old = self.get(obj.id)
        kind = self.schema.type.__name__.lower()
        if old is None and obj.version.index:
            raise OutOfSequence(f"{kind} {obj.id} was removed meanwhile")
        if old is not None and old.version != obj.version:
            raise OutOfSequence(
                f"update out of sequence: {kind} {obj.id} is at version {old.version.index}, "
                f"not {obj.version.index}"
            )
        for index in self.schema.unique:
            if (key := self.schema.indexes[index](obj)) is not None:
                for other in self.find(index, key):
                    if other.id != obj.id:
                        raise Conflict(f"{kind} {key} already exists", hint="choose another name")
        now = self._tx.now()
        created = old.created_at if old is not None else obj.created_at or now
        stamped = replace(obj, created_at=created, updated_at=now)
        self._write(obj.id, stamped)
        return stamped

    def delete(self, id: str) -> None:
        if id not in self:
            raise NotFound(f"{self.schema.type.__name__.lower()} {id} not found")
        self._write(id, None)

    def _write(self, id: str, obj: O | None) -> None:
        self._tx._record(self, id, self._own.get(id), id in self._touched, obj)
        self._set(id, obj)
        self._touched.add(id)

    def _set(self, id: str, obj: O | None) -> None:
        if obj is not None:
            self._own.set(obj)
        elif id in self._own:
            self._own.remove(id)

    def _undo(self, id: str, own: O | None, touched: bool) -> None:
        self._set(id, own)
        if not touched:
            self._touched.discard(id)


class Tx:
    """Reads and writes that commit as one raft entry of at most MAX_CHANGES changes."""

    def __init__(self, view: View, now: Callable[[], datetime], outcomes: Outcomes | None = None) -> None:
        self.base = view.index
        self._now = now
        self._known = outcomes if outcomes is not None else Outcomes()
        self._outcomes: list[
            tuple[int, Outcome]
        ] = []  # each with the place in the journal where its writes end
        self._stamp: datetime | None = None
        self._view = view
        self._journal: list[tuple[TxTable[Any], str, Any, bool, int]] = []
        self._first: dict[str, int] = {}  # where in the journal each id was written first
        self._raw: dict[
            int, tuple[Object, bytes]
        ] = {}  # by identity; holds the object, so that this stays true
        self._size = 0

    # Most transactions meet two or three tables: the others are not made.
    @cached_property
    def nodes(self) -> TxTable[Node]:
        return TxTable(self, self._view.nodes)

    @cached_property
    def services(self) -> TxTable[Service]:
        return TxTable(self, self._view.services)

    @cached_property
    def tasks(self) -> TxTable[Task]:
        return TxTable(self, self._view.tasks)

    @cached_property
    def networks(self) -> TxTable[Network]:
        return TxTable(self, self._view.networks)

    @cached_property
    def secrets(self) -> TxTable[Secret]:
        return TxTable(self, self._view.secrets)

    @cached_property
    def configs(self) -> TxTable[Config]:
        return TxTable(self, self._view.configs)

    @cached_property
    def clusters(self) -> TxTable[Cluster]:
        return TxTable(self, self._view.clusters)

    def table(self, name: str) -> TxTable[Any]:
        table: TxTable[Any] = getattr(self, name)
        return table

    def put(self, obj: O) -> O:
        """As `TxTable.put`, in the table of the object's type; returns the object with its times."""
        stored: O = self.table(BY_TYPE[type(obj)].name).put(obj)
        return stored

    def delete(self, id: str) -> None:
        """Remove the object with this id, whatever it is."""
        for schema in SCHEMAS:
            if id in (table := self.table(schema.name)):
                table.delete(id)
                return
        raise NotFound(f"object {id} not found")

    def now(self) -> datetime:
        """One time for the whole transaction; made here, never where entries are applied."""
        if self._stamp is None:
            self._stamp = self._now()
        return self._stamp

    def __len__(self) -> int:
        """How many objects it has written."""
        return len(self._first)

    @property
    def fits(self) -> bool:
        """Whether there is room for it in one entry with others. What is written twice counts twice."""
        return len(self) <= MAX_CHANGES and self._size <= MAX_BYTES

    def check(self) -> None:
        """Raises if it can be no entry at all, not even alone."""
        if (changes := len(self)) > MAX_CHANGES:
            raise TooManyChanges(f"a transaction of {changes} changes; at most {MAX_CHANGES} fit one entry")
        if self._size > MAX_ENTRY:
            size = sum(len(self.raw(obj)) for _, _, obj in self.writes() if obj is not None)
            if size > MAX_ENTRY:
                raise TooLarge(f"a change of {size} bytes; at most {MAX_ENTRY} fit one entry")

    def raw(self, obj: Object) -> bytes:
        """The bytes of an object that was written here."""
        return self._raw[id(obj)][1]

    def _record(
        self, table: TxTable[Any], key: str, own: Object | None, touched: bool, new: Object | None
    ) -> None:
        size = 0
        if new is not None:
            raw = encode_object(new)
            self._raw[id(new)] = new, raw
            size = len(raw)
        self._first.setdefault(key, len(self._journal))
        self._journal.append((table, key, own, touched, size))
        self._size += size

    def outcome(self, write_id: str) -> bytes | None:
        """What the write with this id was answered, in this transaction or an earlier one."""
        own = (answer for _, (known, answer) in self._outcomes if known == write_id)
        return next(own, None) or self._known.get(write_id)

    def remember(self, write_id: str, answer: bytes) -> None:
        """Something was written for `write_id`, and this is the answer to it."""
        self._outcomes.append((len(self._journal), (write_id, answer)))

    def outcomes(self) -> tuple[Outcome, ...]:
        return tuple(outcome for _, outcome in self._outcomes)

    @property
    def size(self) -> int:
        """Bytes of what it has written; what is written twice counts twice."""
        return self._size

    def mark(self) -> int:
        """A point to return to with `undo_to`."""
        return len(self._journal)

    def undo_to(self, mark: int) -> None:
        while self._outcomes and self._outcomes[-1][0] > mark:
            self._outcomes.pop()
        while len(self._journal) > mark:
            table, id, own, touched, size = self._journal.pop()
            table._undo(id, own, touched)
            self._size -= size
            if self._first[id] == len(self._journal):
                del self._first[id]

    def rewrites(self, mark: int) -> bool:
        """Was something written since `mark` that had been written before it?"""
        return any(self._first[id] < mark for _, id, *_ in islice(self._journal, mark, None))

    def writes(self) -> Iterator[tuple[str, str, Object | None]]:
        """(table, id, new object or None for removal) in the order of first writing; no-ops left out."""
        for table, id in dict.fromkeys((table, id) for table, id, *_ in self._journal):
            obj = table.get(id)
            if obj is not None or table.in_base(id):
                yield table.schema.name, id, obj
