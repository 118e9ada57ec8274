"""Clients that create, remove and read configs under names of their own, and hold every answer against what they know.

Each name is a register with one writer: there, not there, or unknown after an answer that says so. A read through any
manager must show what was acknowledged before (linearizable), a create that finds its own name taken, or a remove that
finds nothing, is an answer to another try than the user's.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from random import Random

from swarmcore.errors import Conflict, NotFound, SwarmError
from tests.e2e.swarm import Swarm

_DATA = base64.b64encode(b"x").decode()


class Writer:
    def __init__(self, swarm: Swarm, name: str, hosts: Sequence[str], seed: int) -> None:
        self._swarm, self._name = swarm, name
        self.hosts = hosts  # that it asks; who asks a frozen one waits for it
        self._random = Random(seed)
        self.there: bool | None = False  # None: nobody knows
        self.acknowledged = 0
        self.faults: list[str] = []

    async def until(self, over: asyncio.Event) -> None:
        while not over.is_set():
            host = self._random.choice(list(self.hosts))
            try:
                await self._step(host)
            except (SwarmError, OSError):
                await asyncio.sleep(0.02)

    async def _step(self, host: str) -> None:
        if self.there is None or self._random.random() < 0.3:
            await self.look(host)
        elif self.there:
            await self._remove(host)
        else:
            await self._create(host)

    async def look(self, host: str) -> None:
        try:
            await self._swarm.get(host, f"/configs/{self._name}")
            found = True
        except NotFound:
            found = False
        if self.there is not None and found != self.there:
            self.faults.append(f"{host} shows {self._name} as {found}, and {self.there} was acknowledged")
        self.there = found

    async def _create(self, host: str) -> None:
        self.there = None
        try:
            await self._swarm.post(host, "/configs/create", {"Name": self._name, "Data": _DATA})
        except Conflict as error:
            self.faults.append(f"the create of {self._name} through {host} was told: {error}")
            return
        self.there = True
        self.acknowledged += 1

    async def _remove(self, host: str) -> None:
        self.there = None
        try:
            await self._swarm.delete(host, f"/configs/{self._name}")
        except NotFound as error:
            self.faults.append(f"the remove of {self._name} through {host} was told: {error}")
            return
        self.there = False
        self.acknowledged += 1
