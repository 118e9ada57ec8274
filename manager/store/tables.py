"""What the store holds: seven declared tables, their indexes, and rows that views share without copying.

A `Table` handed out in a view never changes. The store edits a table in place while nobody holds
it, and copies its dicts once per commit otherwise (10,000 rows: about 0.1 ms, whatever the commit
changes). Plain dicts, not hash tries: their order is the order of the log on every manager, so
that loops and simulations are reproducible, and reading them costs least.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from swarmcore.model.base import Object
from swarmcore.model.cluster import Cluster
from swarmcore.model.network import Network
from swarmcore.model.node import Node
from swarmcore.model.place import place_of
from swarmcore.model.secret import Config, Secret
from swarmcore.model.service import Service
from swarmcore.model.task import Task

O = TypeVar("O", bound=Object)  # noqa: E741 - an object of a table
O_co = TypeVar("O_co", bound=Object, covariant=True)


@dataclass(frozen=True)
class Schema(Generic[O]):
    """One table: `indexes` map an object to its key (None: not indexed); `unique` indexes hold one object a key."""

    name: str
    type: type[O]
    indexes: Mapping[str, Callable[[O], Hashable | None]]
    unique: frozenset[str] = frozenset()

    def keys(self, obj: O) -> Iterator[tuple[str, Hashable]]:
        for index, key_of in self.indexes.items():
            if (key := key_of(obj)) is not None:
                yield index, key


def fold(name: str) -> str:
    """Names differ by more than case (as in swarmkit): DNS could not tell them apart otherwise."""
    return name.lower()


UNIQUE_NAME = frozenset({"name"})
NODES: Schema[Node] = Schema(
    "nodes", Node, {"name": lambda n: fold(n.description.hostname) if n.description else None}
)
SERVICES: Schema[Service] = Schema("services", Service, {"name": lambda s: fold(s.spec.name)}, UNIQUE_NAME)
TASKS: Schema[Task] = Schema(
    "tasks",
    Task,
    {
        "service_id": lambda t: t.service_id or None,
        "node_id": lambda t: t.node_id or None,
        "place": lambda t: (t.service_id, place_of(t)) if t.service_id else None,
    },
)
NETWORKS: Schema[Network] = Schema(
    "networks", Network, {"name": lambda n: None if n.pending_delete else fold(n.spec.name)}, UNIQUE_NAME
)
SECRETS: Schema[Secret] = Schema("secrets", Secret, {"name": lambda s: fold(s.spec.name)}, UNIQUE_NAME)
CONFIGS: Schema[Config] = Schema("configs", Config, {"name": lambda c: fold(c.spec.name)}, UNIQUE_NAME)
CLUSTERS: Schema[Cluster] = Schema("clusters", Cluster, {"name": lambda c: fold(c.spec.name)}, UNIQUE_NAME)

SCHEMAS: tuple[Schema[Any], ...] = (NODES, SERVICES, TASKS, NETWORKS, SECRETS, CONFIGS, CLUSTERS)
BY_NAME: Mapping[str, Schema[Any]] = {schema.name: schema for schema in SCHEMAS}
BY_TYPE: Mapping[type[Object], Schema[Any]] = {schema.type: schema for schema in SCHEMAS}


class Reader(Protocol[O_co]):
    """What can be read of a table, in a view and in a transaction alike."""

    def get(self, id: str) -> O_co | None: ...

    def find(self, index: str, key: Hashable) -> tuple[O_co, ...]:
        """The objects of `key`; name indexes take any case."""
        ...

    def __iter__(self) -> Iterator[O_co]: ...

    def __len__(self) -> int: ...

    def __contains__(self, id: object) -> bool: ...


class Tables(Protocol):
    """All tables, in a view and in a transaction alike: what pure readers ask for."""

    @property
    def nodes(self) -> Reader[Node]: ...
    @property
    def services(self) -> Reader[Service]: ...
    @property
    def tasks(self) -> Reader[Task]: ...
    @property
    def networks(self) -> Reader[Network]: ...
    @property
    def secrets(self) -> Reader[Secret]: ...
    @property
    def configs(self) -> Reader[Config]: ...
    @property
    def clusters(self) -> Reader[Cluster]: ...


def search_key(index: str, key: Hashable) -> Hashable:
    return fold(key) if index == "name" and isinstance(key, str) else key


Ids = dict[str, None]  # an ordered set


class Table(Generic[O]):
    """Rows by id and the ids of each index key. Only the store edits one, and never a frozen one."""

    __slots__ = ("_frozen", "_indexes", "_owned", "_rows", "schema")

    def __init__(self, schema: Schema[O], rows: Iterable[O] = ()) -> None:
        self.schema = schema
        self._rows: dict[str, O] = {}
        self._indexes: dict[str, dict[Hashable, Ids]] = {index: {} for index in schema.indexes}
        # Index keys whose id set belongs to this table alone; all others may be shared with a view.
        self._owned: set[tuple[str, Hashable]] = set()
        self._frozen = False
        for row in rows:
            self.set(row)

    def get(self, id: str) -> O | None:
        return self._rows.get(id)

    def count(self, index: str, key: Hashable) -> int:
        """How many objects `find` gives."""
        return len(self._indexes[index].get(search_key(index, key), ()))

    def find(self, index: str, key: Hashable) -> tuple[O, ...]:
        return tuple(map(self._rows.__getitem__, self._indexes[index].get(search_key(index, key), ())))

    def ids(self, index: str, key: Hashable) -> Iterable[str]:
        """Ids of an already folded key: cheaper than `find` where a transaction overlays the rows."""
        return self._indexes[index].get(key, ())

    def __iter__(self) -> Iterator[O]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, id: object) -> bool:
        return id in self._rows

    # -- the store's side ------------------------------------------------------------------------

    def freeze(self) -> Table[O]:
        """Hand the table out: it never changes from now on."""
        self._frozen = True
        return self

    def thawed(self) -> Table[O]:
        """A table with the same rows that may be edited: itself while nobody else holds it."""
        if not self._frozen:
            return self
        copy: Table[O] = Table(self.schema)
        copy._rows = self._rows.copy()
        copy._indexes = {index: keys.copy() for index, keys in self._indexes.items()}
        return copy

    def set(self, obj: O) -> None:
        assert not self._frozen
        old = self._rows.get(obj.id)
        for index, key_of in self.schema.indexes.items():
            before = key_of(old) if old is not None else None
            after = key_of(obj)
            if before == after:
                continue
            if before is not None:
                self._unindex(index, before, obj.id)
            if after is not None:
                self._ids(index, after)[obj.id] = None
        self._rows[obj.id] = obj

    def remove(self, id: str) -> None:
        assert not self._frozen
        for index, key in self.schema.keys(self._rows.pop(id)):
            self._unindex(index, key, id)

    def _ids(self, index: str, key: Hashable) -> Ids:
        """The id set of a key, made this table's own: at most one copy a key and commit."""
        keys = self._indexes[index]
        if (index, key) not in self._owned:
            keys[key] = dict(keys.get(key, ()) and keys[key])
            self._owned.add((index, key))
        return keys[key]

    def _unindex(self, index: str, key: Hashable, id: str) -> None:
        ids = self._ids(index, key)
        del ids[id]
        if not ids:
            del self._indexes[index][key]
            self._owned.discard((index, key))


@dataclass(frozen=True)
class View:
    """The whole store after the commit `index`; it never changes."""

    index: int
    nodes: Table[Node]
    services: Table[Service]
    tasks: Table[Task]
    networks: Table[Network]
    secrets: Table[Secret]
    configs: Table[Config]
    clusters: Table[Cluster]

    def table(self, name: str) -> Table[Any]:
        table: Table[Any] = getattr(self, name)
        return table
