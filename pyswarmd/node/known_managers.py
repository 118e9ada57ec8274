"""This node's addresses and the managers that it knows: in memory as the session tells them, on the disk soon after."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec.structs import replace

from pyswarmd.node.membership import LocalState
from swarmcore.aio import in_thread
from swarmcore.rpc.messages.session import ManagerAddress


class KnownManagers:
    """`local` is what holds now; `path` keeps it for whom to ask after a restart."""

    def __init__(self, local: LocalState, path: Path) -> None:
        self.local = local
        self._path = path
        self._saved: LocalState | None = None
        self._told = asyncio.Event()

    def are(self, managers: tuple[ManagerAddress, ...]) -> None:
        """Told by a session."""
        self.local = replace(self.local, managers=managers)
        self._told.set()

    async def run(self) -> None:
        """Keep on disk what is known."""
        while True:
            self._told.clear()
            if (local := self.local) != self._saved:
                # To its end: whoever ends us may remove the file, and a late write would bring it back.
                await in_thread(local.save, self._path)
                self._saved = local
            await self._told.wait()
