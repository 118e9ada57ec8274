"""Compaction: an immutable view of the state now, made durable in a thread, then a shorter log."""

from __future__ import annotations

from typing import Any

from manager.raft.interfaces import Background, Snapshots
from manager.raft.membership import Membership
from manager.raft.messages import SnapshotMeta
from manager.raft.proposer import StateMachine

_IDLE, _RUNNING, _SUCCESS = 0, 1, 2  # PySyncObj's SERIALIZER_STATE


class Compactor:
    """Stands where PySyncObj expects its Serializer: it says when, and trims the journal afterwards."""

    def __init__(
        self, machine: StateMachine, snapshots: Snapshots, membership: Membership, background: Background
    ) -> None:
        self._machine = machine
        self._snapshots = snapshots
        self._membership = membership
        self._background = background
        self._running: int | None = None
        self._result: SnapshotMeta | BaseException | None = None

    def serialize(self, data: tuple[Any, ...], id_: int) -> None:
        """`data` is (nothing, last applied entry, the one before, nodes); only the second is of use."""
        _, index, term = data[1]
        configuration = self._membership.at(index)
        serialise = self._machine.snapshot()
        self._running, self._result = index, None
        self._background(
            lambda: self._snapshots.write(index, term, configuration, serialise()), self._finished
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
        self._membership.forget_before(covered)
        return _SUCCESS, covered

    def cancelTransmisstion(self, node: object) -> None:
        """PySyncObj's spelling; transfers are replication.py's."""
