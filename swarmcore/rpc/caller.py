"""What those need who only ask: calls to managers. `RpcClient` is one; tests have their own."""

from __future__ import annotations

from typing import Protocol, TypeVar

from msgspec import Struct

R = TypeVar("R", bound=Struct)


class Caller(Protocol):
    async def call(self, address: str, request: Struct, reply: type[R], *, timeout: float = 5.0) -> R:
        """The answer of the manager at `address`, within so many seconds; its errors are `RpcClient.call`'s."""
        ...
