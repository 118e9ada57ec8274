"""Compaction: an immutable view of the state now, made durable in a thread, then a shorter log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manager.raft.interfaces import Background
from manager.raft.messages import SnapshotMeta

if TYPE_CHECKING:
    from manager.raft.core import RaftCore

_IDLE, _RUNNING, _SUCCESS = 0, 1, 2  # PySyncObj's SERIALIZER_STATE


class Compactor:
    """Stands where PySyncObj expects its Serializer: it says when, and trims the journal afterwards."""

    def __init__(self, core: RaftCore, background: Background) -> None:
        self._core = core
        self._background = background
        self._running: int | None = None
        self._result: SnapshotMeta | BaseException | None = None

    def serialize(self, data: tuple[Any, ...], id_: int) -> None:
        """`data` is (nothing, last applied entry, the one before, nodes); only the second is of use."""
        core = self._core
        _, index, term = data[1]
        configuration = core.membership.at(index)
        serialise = core.machine.snapshot()
        self._running, self._result = index, None
        self._background(
            lambda: core.snapshots.write(index, term, configuration, serialise()), self._finished
        )

    def _finished(self, result: SnapshotMeta | BaseException) -> None:
        self._result = result

    def checkSerializing(self) -> tuple[int, int | None]:
        if self._running is None:
            return _IDLE, None
        if self._result is None:
            return _RUNNING, None
        if isinstance(self._result, BaseException):
            raise self._result  # a disk that fails is fatal
        covered, self._running = self._running, None
        self._core.membership.forget_before(covered)
        return _SUCCESS, covered

    def cancelTransmisstion(self, node: object) -> None:
        """PySyncObj's spelling; transfers are replication.py's."""
