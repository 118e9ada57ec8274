"""The leader's loop that makes the keys of encrypted overlays and rotates them every twelve hours.

The ring holds three: all nodes receive under each of them and send under the second newest, so that a key is known
everywhere for a whole period before anybody uses it (netoverlay/ipsec/plan.py).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from manager.store.store import Store
from manager.store.tx import Tx
from swarmcore.clock import Clock
from swarmcore.errors import SwarmError
from swarmcore.model.cluster import OVERLAY_KEYS, EncryptionKey, overlay_keys

log = logging.getLogger(__name__)
RING = 3
PERIOD = timedelta(hours=12)
KEY_BYTES = 16
_RETRY = 1.0

Secret = Callable[[int], bytes]


def due(keys: tuple[EncryptionKey, ...], now: datetime) -> timedelta:
    """How long until the next change; nothing is left to wait for while the ring is not full."""
    if len(keys) < RING:
        return timedelta()
    made = keys[-1].created_at
    return max(timedelta(), made + PERIOD - now) if made is not None else timedelta()


def rotated(keys: tuple[EncryptionKey, ...], now: datetime, secret: Secret) -> tuple[EncryptionKey, ...]:
    """One newer key and none too many; a ring that is not full is filled."""
    newest = keys[-1].lamport_time if keys else 0
    wanted = max(1, RING - len(keys))
    made = tuple(
        EncryptionKey(
            subsystem=OVERLAY_KEYS, key=secret(KEY_BYTES), lamport_time=newest + place + 1, created_at=now
        )
        for place in range(wanted)
    )
    return (*keys, *made)[-RING:]


class KeyManager:
    """Runs while this manager leads. `secret` makes random bytes."""

    def __init__(self, store: Store, clock: Clock, secret: Secret = secrets.token_bytes) -> None:
        self._store, self._clock, self._secret = store, clock, secret

    async def run(self) -> None:
        while True:
            cluster = next(iter(self._store.view().clusters), None)
            wait = (
                due(overlay_keys(cluster), self._clock.now()).total_seconds()
                if cluster is not None
                else _RETRY
            )
            if wait > 0:
                await self._clock.sleep(wait)
                continue
            try:
                await self._store.transact(self._rotate)
            except SwarmError as error:
                log.info("keys are rotated again in a moment", extra={"error": str(error)})
                await self._clock.sleep(_RETRY)

    def _rotate(self, tx: Tx) -> None:
        for cluster in tx.clusters:
            now = tx.now()
            keys = overlay_keys(cluster)
            if due(keys, now):
                return  # somebody else has done it
            others = tuple(key for key in cluster.network_keys if key.subsystem != OVERLAY_KEYS)
            made = rotated(keys, now, self._secret)
            tx.clusters.put(replace(cluster, network_keys=(*others, *made)))
            log.info("keys of encrypted networks rotated", extra={"newest": made[-1].lamport_time})
