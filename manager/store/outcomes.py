"""What writes came to, the newest of them by the id that each carries.

The memory is part of the replicated state: entries carry it, snapshots hold it, and the same log forgets the same on
every manager. Who asks it is `once.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
