"""The wire format of everything between nodes: tagged structs as msgpack, errors as kind, message and hint."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from swarmcore import errors
from swarmcore.errors import Invalid, SwarmError

T = TypeVar("T")

MAX_FRAME = 16 * 1024 * 1024
# A peer without a certificate only fetches the root and sends a certificate request.
MAX_ANONYMOUS = 64 * 1024
ERROR_HEADER = "Swarm-Error"  # carries the error where an HTTP answer cannot have a body (refused WebSocket)
DEADLINE_HEADER = "Swarm-Deadline"  # seconds after which the caller waits no longer
SERVER_NAME = "swarm-manager"  # every manager's certificate has this name: TLS itself checks the role

_encoder = msgspec.msgpack.Encoder()


class ErrorMessage(Struct, frozen=True, kw_only=True):
    """A SwarmError on its way to another node."""

    kind: str
    message: str
    hint: str = ""

    def error(self) -> SwarmError:
        return errors.from_wire(self.kind, self.message, self.hint)


def encode(message: Struct) -> bytes:
    return _encoder.encode(message)


@lru_cache(maxsize=512)
def decoder(type: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(type)


def decode(data: bytes, type: Any) -> Any:
    """The message of this type (or union of types) in `data`; Invalid if it holds anything else."""
    try:
        return decoder(type).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"unreadable message: {error}") from error


def tag_of(type: type[Struct]) -> str:
    """The name of the message, which is the name of its route."""
    tag = type.__struct_config__.tag
    if not isinstance(tag, str):
        raise TypeError(f"{type.__name__} has no tag: it cannot be sent as a request")
    return tag


def to_wire(error: SwarmError) -> ErrorMessage:
    return ErrorMessage(kind=type(error).__name__, message=str(error), hint=error.hint)


def error_to_header(error: SwarmError) -> str:
    # A header line is limited to 8190 bytes.
    message = ErrorMessage(kind=type(error).__name__, message=str(error)[:800], hint=error.hint[:400])
    return base64.b64encode(encode(message)).decode("ascii")


def error_from_header(value: str) -> SwarmError:
    try:
        raw = base64.b64decode(value, validate=True)
    except ValueError as error:
        raise Invalid("unreadable error of the peer") from error
    message: ErrorMessage = decode(raw, ErrorMessage)
    return message.error()
