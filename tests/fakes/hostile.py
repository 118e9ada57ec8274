"""What nobody sends in good faith: every field of a struct of the vocabulary with every odd value that JSON can say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from msgspec import inspect

_DIGITS = "@digits@"  # json.dumps refuses to write numbers of so many digits

NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 63, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1),
    *(2**64 - 1, 2**64, 2**65, 10**300, 1.5, 1e300, f"{_DIGITS}4000", f"{_DIGITS}5000", f"-{_DIGITS}5000"),
)
TEXTS: tuple[str, ...] = (
    *(
        "",
        " ",
        "\t\n",
        "\0",
        "a\0b",
        "a\nb",
        "/",
        "//",
        "..",
        "../..",
        "a/../b",
        "~",
        ".",
        "-",
        "_",
        ":",
        "@",
        "=",
    ),
    *(
        "a" * 64,
        "a" * 70_000,
        "ä",
        "²",
        "٣",
        "\u2028",
        "\ufeff",
        "😀",
        "%2F",
        "%00",
        "\\",
        '"',
        "'",
        "{}",
        "[]",
    ),
    *(
        "0",
        "-1",
        "1e400",
        "9" * 400,
        "9" * 5000,
        "0x10",
        "1_0",
        "nan",
        "inf",
        "true",
        "null",
        "10s",
        "1" * 5000 + "h",
    ),
    *("a=b", "=b", "a=", "==", "a==b", "a!=b", "node.role==", ",", "a,b"),
    *(
        "10.0.0.1",
        "10.0.0.1/33",
        "10.0.0.0/8",
        "::1",
        "1.2.3.4 a",
        "1.2.3.4",
        "fe80::1%x",
        "0.0.0.0/0",
        "::/0",
    ),
    *(
        "{{",
        "}}",
        "{{}}",
        "{{.Service.Nmae}}",
        "{{.Service.Name",
        '{{index .Service.Labels "a"}}',
        "{{" * 500,
    ),
    *(
        "UPPER",
        "a:b:c",
        "a@sha256:12",
        "x" * 63 + ".v2",
        "ALL",
        "CAP_FLY",
        "SIGFLY",
        "99",
        "RTMIN+99",
        "foo=1:x",
    ),
)
ODD: tuple[Any, ...] = (None, True, [], {}, [None], {"": None}, [""], 0, "x")

Path = tuple[str | int, ...]


def fields(type: Any) -> Iterator[tuple[Path, inspect.Type]]:
    """Where in a document of this type values stand: structs are gone through, of lists and maps one item is taken."""
    yield from _fields(inspect.type_info(type), (), 0)


def _fields(info: inspect.Type, path: Path, depth: int) -> Iterator[tuple[Path, inspect.Type]]:
    if isinstance(info, inspect.Metadata):
        if not (info.extra or {}).get("internal"):
            yield from _fields(info.type, path, depth)
        return
    if isinstance(info, inspect.UnionType):
        for kind in info.types:
            if not isinstance(kind, inspect.NoneType):
                yield from _fields(kind, path, depth)
        return
    if path:
        yield path, info
    if isinstance(info, inspect.StructType):
        for field in info.fields:
            yield from _fields(field.type, (*path, field.encode_name), depth)
    elif isinstance(info, inspect.VarTupleType | inspect.ListType) and depth < 4:
        yield from _fields(info.item_type, (*path, 0), depth + 1)
    elif isinstance(info, inspect.DictType) and depth < 4:
        yield from _fields(info.value_type, (*path, "k"), depth + 1)


def values(info: inspect.Type) -> Iterator[Any]:
    """All that is odd for a field of this type."""
    yield from ODD
    match info:
        case inspect.IntType() | inspect.FloatType():
            yield from NUMBERS
        case inspect.StrType() | inspect.BytesType() | inspect.EnumType():
            yield from TEXTS
        case inspect.DictType():
            yield from ({text: "x"} for text in TEXTS)
        case inspect.VarTupleType() | inspect.ListType():
            yield ["x"] * 1000
        case _:
            yield from (1, "x")


def with_value(base: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """`base` (whose own fields stay) with `value` at `path`."""
    found = json.loads(json.dumps(base))
    place: Any = found
    for here, below in pairwise(path):
        empty: Any = [] if isinstance(below, int) else {}
        if isinstance(here, int):
            if len(place) <= here:
                place.append(empty)
            elif not isinstance(place[here], type(empty)):
                place[here] = empty
        elif not isinstance(place.get(here), type(empty)):
            place[here] = empty
        place = place[here]
    last = path[-1]
    if isinstance(last, int) and len(place) <= last:
        place.append(value)
    else:
        place[last] = value
    return dict(found)


def encoded(document: Any) -> bytes:
    """As JSON, with numbers of as many digits as they are to have."""
    text = json.dumps(document)
    for count in (4000, 5000):
        for sign in ("", "-"):
            text = text.replace(f'"{sign}{_DIGITS}{count}"', sign + "9" * count)
    return text.encode()


def documents(type: Any, base: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """One document for each field and odd value, with a word about what is odd."""
    for path, info in fields(type):
        for value in values(info):
            where = ".".join(map(str, path))
            yield f"{where}={str(value)[:40]!r}", encoded(with_value(base, path, value))
