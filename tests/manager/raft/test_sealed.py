"""Sealed files: what was written comes back, a torn end is told from damage, nothing can be moved or altered."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.raft.interfaces import CorruptState
from manager.raft.sealed import HEADER_BYTES, OVERHEAD, Keyring, Opener, Sealer
from pki.seal import DataKeys

KEYS = DataKeys(current=b"k" * 32)
MAGIC = b"testtest"
SECTOR = 512


def keyring(current: bytes = KEYS.current, *older: bytes) -> Keyring:
    return Keyring(DataKeys(current=current, older=older))


def sealed(*plains: bytes, number: int = 1, seed: int = 1, magic: bytes = MAGIC) -> bytes:
    sealer = Sealer(keyring(), magic, number, Random(seed).randbytes)
    return sealer.header + b"".join(map(sealer.seal, plains))


def opened(data: bytes, keys: Keyring | None = None) -> list[bytes]:
    return list(Opener(keys or keyring(), MAGIC, "file", data[:HEADER_BYTES]).frames(data))


def frame_starts(*plains: bytes) -> Iterator[int]:
    at = HEADER_BYTES
    for plain in plains:
        yield at
        at += len(plain) + OVERHEAD


@given(st.lists(st.binary(max_size=2000), max_size=6))
def test_what_was_sealed_comes_back(plains: list[bytes]) -> None:
    assert opened(sealed(*plains)) == plains


def test_the_plain_data_is_not_in_the_file_and_the_size_is_what_the_sealer_says() -> None:
    sealer = Sealer(keyring(), MAGIC, 7, Random(1).randbytes)
    data = sealer.header + sealer.seal(b"the secret") + sealer.seal(b"")
    assert b"secret" not in data
    assert len(data) == sealer.size


@given(st.lists(st.binary(max_size=700), min_size=1, max_size=4), st.integers(0), st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_noticed(plains: list[bytes], place: int, bit: int) -> None:
    data = bytearray(sealed(*plains))
    data[place % len(data)] ^= 1 << bit
    with pytest.raises(CorruptState):
        opened(bytes(data))


@given(st.lists(st.binary(max_size=700), min_size=1, max_size=4), st.integers(0))
def test_a_file_cut_off_in_its_last_frame_loses_that_frame_only(plains: list[bytes], cut: int) -> None:
    data = sealed(*plains)
    *_, last = frame_starts(*plains)
    assert opened(data[: last + cut % (len(data) - last)]) == plains[:-1]


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=3), st.integers(0))
def test_a_last_frame_whose_end_reads_as_zeros_is_torn(plains: list[bytes], written: int) -> None:
    data = sealed(*plains)
    *_, last = frame_starts(*plains)
    written = last + written % (len(data) - last)
    assert opened(data[:written] + bytes(len(data) - written)) == plains[:-1]


@given(
    st.binary(min_size=1000, max_size=3000), st.binary(max_size=600), st.sets(st.integers(0, 7), min_size=1)
)
def test_a_last_frame_that_lacks_sectors_is_torn(plain: bytes, before: bytes, missing: set[int]) -> None:
    data = bytearray(sealed(before, plain))
    _, last = frame_starts(before, plain)
    first = last // SECTOR
    lacking = [sector for sector in missing if (first + sector) * SECTOR < len(data)]
    for sector in lacking:
        begin, end = max(last, (first + sector) * SECTOR), min(len(data), (first + sector + 1) * SECTOR)
        data[begin:end] = bytes(end - begin)
    assert opened(bytes(data)) == ([before] if lacking else [before, plain])


def test_a_damaged_frame_with_a_whole_one_after_it_is_never_taken_for_torn() -> None:
    data = bytearray(sealed(bytes(1000), b"had been synced later"))
    data[SECTOR : 2 * SECTOR] = bytes(SECTOR)
    with pytest.raises(CorruptState, match="frame 0 at byte 56 is damaged"):
        opened(bytes(data))


def test_frames_cannot_change_places_or_files() -> None:
    one, two = frame_starts(b"one", b"two")
    data = sealed(b"one", b"two")
    with pytest.raises(CorruptState, match="altered"):
        opened(data[:one] + data[two:] + data[one:two])
    with pytest.raises(CorruptState, match="altered"):
        opened(sealed(seed=2) + data[one:])
    with pytest.raises(CorruptState, match="altered"):
        opened(data[:one] + data[two:])


def test_a_file_of_another_kind_version_or_key_is_refused_with_the_reason() -> None:
    data = sealed(b"x")
    with pytest.raises(CorruptState, match="file of another kind"):
        opened(sealed(b"x", magic=b"otherone"))
    with pytest.raises(CorruptState, match="data key that this node does not have"):
        opened(data, keyring(b"n" * 32))
    with pytest.raises(CorruptState, match="header is damaged"):
        opened(data[: HEADER_BYTES - 1])
    assert opened(data, keyring(b"n" * 32, b"m" * 32, KEYS.current)) == [b"x"]


def test_no_key_and_nonce_serve_twice() -> None:
    """Within a file the counter differs, between files the salt and so the key."""
    random = Random(3).randbytes
    files = [Sealer(keyring(), MAGIC, 1, random) for _ in range(20)]
    frames = [sealer.seal(b"the same") for sealer in files for _ in range(20)]
    assert len(set(frames)) == len(frames)
    assert len({sealer.header for sealer in files}) == len(files)
