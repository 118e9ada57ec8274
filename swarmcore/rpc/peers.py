"""Which manager to talk to: a random choice that prefers the ones that answered lately."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from random import Random

from swarmcore.errors import Unavailable

BEST = 1.0
WORST = 0.02  # never zero: a manager that was down is tried again now and then


class Remotes:
    """The known manager addresses with a weight each; `observe` moves the weight towards what was seen."""

    def __init__(self, random: Random, addresses: Iterable[str] = ()) -> None:
        self._random = random
        self._weights: dict[str, float] = dict.fromkeys(addresses, BEST)

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(self._weights)

    def managers_are(self, addresses: Iterable[str]) -> None:
        """From now on; known ones keep their weight. An empty list is ignored: it would strand us."""
        if wanted := tuple(addresses):
            self._weights = {address: self._weights.get(address, BEST) for address in wanted}

    def observe(self, address: str, *, up: bool) -> None:
        """An address not known before is remembered when it answered."""
        weight = self._weights.get(address)
        if weight is None:
            if up:
                self._weights[address] = BEST
            return
        self._weights[address] = (weight + BEST) / 2 if up else max(WORST, weight / 4)

    def choose(self, without: Collection[str] = ()) -> str:
        """`without` names addresses to avoid if there is any other."""
        if not self._weights:
            raise Unavailable("no manager's address is known")
        names = [name for name in self._weights if name not in without] or list(self._weights)
        return self._random.choices(names, [self._weights[name] for name in names])[0]
