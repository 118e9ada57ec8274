"""Which life of the swarm a manager belongs to: `--force-new-cluster` begins another one, with a random id.

A recovered swarm and the managers that it was recovered without have the same certificates, the same root and logs
with a common beginning. What tells them apart is this.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct


class Generation(Struct, frozen=True, kw_only=True, array_like=True):
    """`number` counts the recoveries, `began` is when the last one was, in seconds since 1970.

    The default is a swarm that was never recovered, or only by a program that knew no generations.
    """

    id: str = ""
    number: int = 0
    began: int = 0

    @property
    def date(self) -> str:
        return f"{datetime.fromtimestamp(self.began, UTC):%Y-%m-%d %H:%M} UTC"

    def newer_than(self, other: Generation) -> bool:
        """Of two recoveries that know nothing of each other, the later one."""
        return (self.number, self.began, self.id) > (other.number, other.began, other.id)

    def next(self, id: str, now: datetime) -> Generation:
        return Generation(id=id, number=self.number + 1, began=int(now.timestamp()))


FIRST = Generation()
