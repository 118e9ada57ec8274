"""What the nouns of this host ask of the parts of the daemon that have them; `engine/app.py` puts the parts there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from aiohttp import web

from worker.images.index import Image, Removal
from worker.images.oci import ImageConfig, RunConfig
from worker.volumes.local import Volume


class Containers(Protocol):
    @property
    def running(self) -> int:
        """How many have not ended."""
        ...

    def has(self, text: str) -> bool:
        """Whether an id, the beginning of one, or a name is that of a container here (or of several)."""
        ...


class Images(Protocol):
    """Names are references, ids or beginnings of ids; NotFound where nothing here has one."""

    def list(self) -> Sequence[Image]: ...

    def get(self, text: str) -> Image: ...

    def config(self, image: Image) -> ImageConfig:
        """Reads the disk."""
        ...

    def raw_config(self, image: Image) -> bytes:
        """As the archive had it. Reads the disk."""
        ...

    def now(self) -> datetime:
        """By the clock that the times of images are of."""
        ...

    async def load(self, path: Path) -> Sequence[Image]: ...

    async def import_rootfs(self, path: Path, name: str | None, run: RunConfig, comment: str) -> Image: ...

    async def tag(self, source: str, name: str) -> Image: ...

    async def remove(self, text: str, *, force: bool = False) -> Removal: ...


class Volumes(Protocol):
    def list(self) -> Sequence[Volume]:
        """Reads the disk."""
        ...


# Keys by identity: aiohttp's take no protocol as a type.
CONTAINERS: web.AppKey[Containers] = web.AppKey("containers")
IMAGES: web.AppKey[Images] = web.AppKey("images")
VOLUMES: web.AppKey[Volumes] = web.AppKey("volumes")
