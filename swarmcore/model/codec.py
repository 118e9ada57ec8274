"""Docker's JSON to structs as Go reads it: null is the zero value, case is free, unknown fields go to the caller."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, inspect

from swarmcore.errors import Invalid
from swarmcore.text.numbers import INT64_MAX, INT64_MIN, UINT64_MAX

_DIGITS = 30  # of a number that a message repeats
T = TypeVar("T", bound=Struct)
Fields = dict[str, inspect.Field]


def decode_spec(body: bytes, type: type[T], ignored: list[str] | None = None) -> T:
    """The struct that `body` says; Invalid with one line that names the wrong field.

    Fields that the struct does not have are named in `ignored`; without such a list they are Invalid, too.
    """
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the request body is not valid JSON: {error}") from error
    return convert_spec(raw, type, ignored)


def convert_spec(raw: Any, type: type[T], ignored: list[str] | None = None) -> T:
    """`decode_spec` for JSON that is parsed already."""
    unknown: list[str] = []
    try:
        value = _normal(raw, _info(type), "", unknown)
    except RecursionError as error:
        raise Invalid("the request body is nested too deeply") from error
    if ignored is not None:
        ignored += unknown
    elif unknown:
        raise Invalid(
            f"unknown field{'s' if len(unknown) > 1 else ''} in {type.__name__}: {', '.join(unknown)}"
        )
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise Invalid(f"invalid {type.__name__}: {error}") from error


def _normal(value: Any, info: inspect.Type, path: str, unknown: list[str]) -> Any:
    """`value` without nulls and with exact names, as far as `info` knows; the rest is left to msgspec to refuse."""
    info = _bare(info)
    if value is None:
        value = _zero(info)
    if isinstance(info, inspect.StructType) and isinstance(value, dict):
        return _normal_struct(value, info, path, unknown)
    if isinstance(info, inspect.VarTupleType | inspect.ListType) and isinstance(value, list):
        return [_normal(item, info.item_type, f"{path}[{i}]", unknown) for i, item in enumerate(value)]
    if isinstance(info, inspect.DictType) and isinstance(value, dict):
        return {key: _normal(item, info.value_type, f"{path}[{key}]", unknown) for key, item in value.items()}
    if isinstance(info, inspect.IntType) and isinstance(value, int):
        _check_range(value, info, path)
    return value


def _check_range(value: int, info: inspect.IntType, path: str) -> None:
    """Go's int64 or uint64: nothing behind the door is made for larger numbers, the store cannot even hold them."""
    most = UINT64_MAX if info.ge == 0 else INT64_MAX
    if not INT64_MIN <= value <= most:
        shown = str(value) if abs(value) < 10**_DIGITS else f"a number of {len(str(abs(value)))} digits"
        raise Invalid(f"invalid {path}: {shown} is not from {INT64_MIN if info.ge != 0 else 0} to {most}")


def _normal_struct(
    value: dict[str, Any], info: inspect.StructType, path: str, unknown: list[str]
) -> dict[str, Any]:
    exact, folded = _fields(info.cls)
    found: dict[str, Any] = {}
    for key, item in value.items():
        field = exact.get(key) or folded.get(key.lower())
        here = f"{path}.{key}" if path else key
        if field is None:
            unknown.append(here)
        elif item is not None and not (item == "" and isinstance(_bare(field.type), inspect.EnumType)):
            # Go's zero of an enumeration is the empty string: the default, like null.
            found[field.encode_name] = _normal(item, field.type, here, unknown)
    return found


@lru_cache(maxsize=512)
def _info(type: type[Struct]) -> inspect.Type:
    """Made once a type: it costs more than all else of a request."""
    return inspect.type_info(type)


@lru_cache(maxsize=512)
def _fields(cls: type[Struct]) -> tuple[Fields, Fields]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    exact = {field.encode_name: field for field in info.fields if not _is_internal(field.type)}
    return exact, {name.lower(): field for name, field in exact.items()}


def _is_internal(info: inspect.Type) -> bool:
    return isinstance(info, inspect.Metadata) and bool((info.extra or {}).get("internal"))


def _bare(info: inspect.Type) -> inspect.Type:
    """Without annotations and without "or None"."""
    if isinstance(info, inspect.Metadata):
        return _bare(info.type)
    if isinstance(info, inspect.UnionType):
        kinds = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
        if len(kinds) == 1:
            return _bare(kinds[0])
    return info


def _zero(info: inspect.Type) -> Any:
    """What Go leaves where JSON has null inside a list or map."""
    match info:
        case inspect.StructType() | inspect.DictType():
            return {}
        case inspect.VarTupleType() | inspect.ListType():
            return []
        case inspect.StrType() | inspect.BytesType():
            return ""
        case inspect.BoolType():
            return False
        case inspect.IntType() | inspect.FloatType():
            return 0
        case _:
            return None
