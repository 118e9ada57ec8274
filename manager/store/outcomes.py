"""What writes came to, the newest of them by the id that each carries: one that is asked again is not done again.

Whoever loses the answer to a write cannot know whether it was done. It asks again with the same id, and is told what
was answered then, even if others have changed or removed the object since. The memory is part of the replicated
state: entries carry it, snapshots hold it, and the same log forgets the same on every manager.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct, msgpack

if TYPE_CHECKING:
    from manager.store.tx import Tx

R = TypeVar("R", bound=Struct)
#: Writes that are remembered: the busiest swarm makes fewer in the seconds in which one is asked again.
REMEMBERED = 16_384
Outcome = tuple[str, bytes]  # the write's id, its answer


class Outcomes:
    """By write id, oldest first."""

    def __init__(self, known: Iterable[Outcome] = ()) -> None:
        self._answers: dict[str, bytes] = dict(known)

    def get(self, write_id: str) -> bytes | None:
        return self._answers.get(write_id)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        for write_id, answer in outcomes:
            self._answers.setdefault(write_id, answer)
            if len(self._answers) > REMEMBERED:
                del self._answers[next(iter(self._answers))]

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._answers.items())


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
