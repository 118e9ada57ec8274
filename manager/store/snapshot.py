"""The store as bytes: raft entries (what a transaction changes) and snapshots (everything), as msgpack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder
from msgspec.structs import replace

from manager.store.outcomes import Outcome, Outcomes
from manager.store.share import shared_parts
from manager.store.tables import SCHEMAS, SERVICES, TASKS, Table, View
from swarmcore.model.base import Object
from swarmcore.model.task import Task

FORMAT = 1
NIL = b"\xc0"
_encoder = Encoder()
_decoders: Mapping[str, Decoder[Object]] = {schema.name: Decoder(schema.type) for schema in SCHEMAS}


class Write(Struct, frozen=True, array_like=True, gc=False):
    """One change of an entry: `obj` is the object's msgpack, nil for a removal."""

    table: str
    id: str
    obj: msgspec.Raw

    def new(self) -> Object | None:
        """The object to store; None: remove it."""
        return None if bytes(self.obj) == NIL else decode_object(self.table, self.obj)


class Entry(Struct, frozen=True, array_like=True):
    """A transaction in the log. It holds only on top of the state that it was made from (`base`)."""

    base: int
    writes: tuple[Write, ...]
    outcomes: tuple[Outcome, ...] = ()  # of writes that may be asked for again


class Image(Struct, frozen=True, kw_only=True):
    """A whole snapshot; tables in their own order, so that a restored store iterates as the original."""

    format: int
    index: int
    tables: dict[str, list[msgspec.Raw]]
    outcomes: tuple[Outcome, ...] = ()


_entry_decoder = Decoder(Entry)
_image_decoder = Decoder(Image)


def encode_object(obj: Object) -> bytes:
    return _encoder.encode(obj)


def encode_entry(
    base: int,
    writes: list[tuple[str, str, Object | None]],
    raw: Callable[[Object], bytes] = encode_object,
    outcomes: tuple[Outcome, ...] = (),
) -> bytes:
    """`raw` gives the bytes of an object, where they are known already."""
    encoded = (Write(table, id, msgspec.Raw(NIL if obj is None else raw(obj))) for table, id, obj in writes)
    return _encoder.encode(Entry(base, tuple(encoded), outcomes))


def decode_entry(data: bytes) -> Entry:
    return _entry_decoder.decode(data)


def decode_object(table: str, raw: msgspec.Raw) -> Object:
    return _decoders[table].decode(raw)


def dump(view: View, outcomes: tuple[Outcome, ...] = ()) -> bytes:
    """Serialise a view; safe in a thread, as views never change."""
    return _encoder.encode(
        Image(
            format=FORMAT,
            index=view.index,
            tables={
                schema.name: [msgspec.Raw(_encoder.encode(obj)) for obj in view.table(schema.name)]
                for schema in SCHEMAS
            },
            outcomes=outcomes,
        )
    )


def _sharing(tables: Mapping[str, Table[Any]]) -> Callable[[Object], Object]:
    services = tables[SERVICES.name]

    def share(obj: Object) -> Object:
        service = services.get(obj.service_id) if isinstance(obj, Task) else None
        return replace(obj, **shared) if (shared := shared_parts(obj, None, service)) else obj

    return share


def load(data: bytes) -> tuple[int, dict[str, Table[Any]], Outcomes]:
    """(index of the last commit, editable tables, what writes came to) of a dump."""
    image = _image_decoder.decode(data)
    if image.format != FORMAT:
        raise ValueError(f"snapshot format {image.format} is not {FORMAT}: made by another pyswarm version")
    tables: dict[str, Table[Any]] = {}
    for schema in SCHEMAS:
        rows = (decode_object(schema.name, raw) for raw in image.tables.get(schema.name, ()))
        tables[schema.name] = Table(schema, map(_sharing(tables), rows) if schema is TASKS else rows)
    return image.index, tables, Outcomes(image.outcomes)
