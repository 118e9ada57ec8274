"""Batches of lines are cut into messages that a follower can be sent, in order and without a loss."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from manager.logs.pieces import MAX_LINE, MAX_PIECE, pieces, size
from swarmcore.rpc.codec import MAX_FRAME, encode
from swarmcore.rpc.messages.logs import LogBatch, LogMessage, LogStream

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def line(length: int) -> LogMessage:
    return LogMessage(
        node_id="n" * 25,
        service_id="s" * 128,
        task_id="t" * 25,
        stream=LogStream.STDOUT,
        timestamp=NOW,
        data=b"x" * length,
    )


@given(st.lists(st.sampled_from([0, 1, 80, MAX_LINE // 3, MAX_LINE]), max_size=12))
def test_every_piece_fits_a_message_and_nothing_is_lost(lengths: list[int]) -> None:
    batch = tuple(map(line, lengths))
    made = list(pieces(batch))
    assert tuple(message for piece in made for message in piece) == batch
    assert all(piece and len(encode(LogBatch(messages=piece))) <= MAX_FRAME // 2 + 1000 for piece in made)


def test_many_short_lines_that_fill_a_frame_are_cut_though_their_text_is_short() -> None:
    batch = (line(1),) * (MAX_PIECE // 200)
    assert size(batch) < MAX_PIECE
    assert len(list(pieces(batch))) > 1
