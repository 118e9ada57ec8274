"""Batches of lines, cut so that each is a message of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from swarmcore.rpc.messages.logs import LogMessage

MAX_LINE = 4 << 20  # bytes of a line
MAX_PIECE = 8 << 20  # of a message: half of what a frame may carry
_LINE_OVERHEAD = 400  # bytes of a line in a message beside its text, at most


def size(batch: Iterable[LogMessage]) -> int:
    return sum(len(message.data) for message in batch)


def pieces(batch: tuple[LogMessage, ...]) -> Iterator[tuple[LogMessage, ...]]:
    """What one agent's message held may not fit one of ours: each line has got its node's id."""
    piece: list[LogMessage] = []
    size = 0
    for message in batch:
        size += len(message.data) + _LINE_OVERHEAD
        if piece and size > MAX_PIECE:
            yield tuple(piece)
            piece, size = [], len(message.data) + _LINE_OVERHEAD
        piece.append(message)
    if piece:
        yield tuple(piece)
