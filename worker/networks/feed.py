"""From the session's network updates to tables that this host agrees with, and the confirmation of it.

What arrives while the kernel is being changed is applied together afterwards. A failure is tried again: the manager
waits for nobody longer than a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from swarmcore.clock import Clock
from swarmcore.errors import SwarmError, Unavailable
from swarmcore.model.cluster import EncryptionKey
from swarmcore.model.overlay import NetworkTable
from swarmcore.rpc.messages.networks import NetworkUpdate, Tables, updated

log = logging.getLogger(__name__)
_RETRY = 1.0


class Networks(Protocol):
    """Who makes this host agree with tables."""

    def heard(self, tables: Mapping[str, NetworkTable]) -> None:
        """Tables that will be applied next: containers may be made for them."""
        ...

    def keys(self, keys: tuple[EncryptionKey, ...]) -> None:
        """The keys of encrypted overlays are these from now on, oldest first."""
        ...

    async def agree_with(self, tables: Mapping[str, NetworkTable]) -> None:
        """Return when the kernel, the balancers and the names of this host agree."""
        ...


class NetworkFeed:
    """One for the agent's life; each session starts it over with a full update."""

    def __init__(self, networks: Networks | None, clock: Clock) -> None:
        self._networks, self._clock = networks, clock
        self._tables: Tables = {}
        self._pending: Tables | None = None  # while the parts of an update come in
        self._number = self._applied = 0
        self._told = asyncio.Event()

    def start_over(self) -> None:
        """A new session counts from the beginning."""
        self._pending = None
        self._number = self._applied = 0
        self._told.clear()

    def told(self, update: NetworkUpdate) -> None:
        """One part of an update, in sequence. Unavailable: it does not fit, and only a new session helps."""
        try:
            self._pending = updated(self._pending if self._pending is not None else self._tables, update)
        except KeyError as error:
            raise Unavailable(f"network update {update.results_in}: {error.args[0]}") from error
        if update.more:
            return
        self._tables, self._pending = self._pending, None
        self._number = update.results_in
        if self._networks is not None:
            self._networks.heard(self._tables)
        self._told.set()

    def keys(self, keys: tuple[EncryptionKey, ...]) -> None:
        if self._networks is not None:
            self._networks.keys(keys)

    async def applied(self) -> int:
        """Apply what has come in; the number up to which this host agrees."""
        while True:
            while self._number <= self._applied:
                self._told.clear()
                await self._told.wait()
            number, tables = self._number, self._tables
            if self._networks is not None:
                try:
                    await self._networks.agree_with(tables)
                except (SwarmError, OSError) as error:
                    log.warning("networks are not as they should be yet", extra={"reason": str(error)})
                    await self._clock.sleep(_RETRY)
                    continue
            self._applied = number
            return number
