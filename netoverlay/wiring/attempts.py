"""Steps that do not wait for each other's success: each is tried, the first failure is raised at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from swarmcore.errors import SwarmError

log = logging.getLogger(__name__)
T = TypeVar("T")


class Attempts:
    """`done` raises the first failure of all that was tried."""

    def __init__(self) -> None:
        self._failed: Exception | None = None

    def __call__(self, step: Callable[[], T]) -> T | int:
        """What the step gives; 0 where it fails."""
        try:
            return step()
        except (OSError, SwarmError) as error:
            log.warning("a part of this host's networking failed", extra={"reason": str(error)})
            self._failed = self._failed or error
        return 0

    def done(self) -> None:
        if self._failed is not None:
            raise self._failed
