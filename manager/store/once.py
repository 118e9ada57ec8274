"""A write that is asked again is not done again.

Whoever loses the answer to a write cannot know whether it was done. It asks again with the same id, and is told what
was answered then, even if others have changed or removed the object since.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct, msgpack

from manager.store.tx import Tx

R = TypeVar("R", bound=Struct)


def once(write_id: str, change: Callable[[Tx], R], reply: type[R]) -> Callable[[Tx], R]:
    """`change` as a transaction that runs at most once, however often it is asked for with `write_id`.

    One that writes nothing or raises is not remembered: doing it again is harmless.
    """

    def transaction(tx: Tx) -> R:
        if (known := tx.outcome(write_id)) is not None:
            return msgpack.decode(known, type=reply)
        mark = tx.mark()
        answer = change(tx)
        if tx.mark() > mark:
            tx.remember(write_id, msgpack.encode(answer))
        return answer

    return transaction
