"""A host's networks as the agent sees them: they agree with tables when the test lets them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from swarmcore.model.cluster import EncryptionKey
from swarmcore.model.overlay import NetworkTable


class FakeNetworks:
    """`tables` is what was applied last; while `open` is not set, `apply` hangs as on a stuck kernel."""

    def __init__(self) -> None:
        self.hearsay: Mapping[str, NetworkTable] = {}
        self.tables: Mapping[str, NetworkTable] = {}
        self.encryption_keys: tuple[EncryptionKey, ...] = ()
        self.applications = 0
        self.open = asyncio.Event()
        self.open.set()

    def heard(self, tables: Mapping[str, NetworkTable]) -> None:
        self.hearsay = tables

    def keys(self, keys: tuple[EncryptionKey, ...]) -> None:
        self.encryption_keys = keys

    async def agree_with(self, tables: Mapping[str, NetworkTable]) -> None:
        await self.open.wait()
        self.tables = tables
        self.applications += 1
