"""Compressions are told by what is inside, and read whole, whatever the name says."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.images.compression import BROKEN, HashingReader, decompressed, zstd_module

ZSTD = zstd_module()
assert ZSTD is not None  # pyproject.toml asks for it
SKIPPABLE = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"
WAYS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": ZSTD.compress,
    "zstd after a frame to skip": lambda data: SKIPPABLE + ZSTD.compress(data),
}
COMPRESSED = [name for name in WAYS if name != "none"]


@pytest.mark.parametrize("way", WAYS)
@given(content=st.binary(max_size=2000).map(lambda data: b"tar" + data))
def test_the_content_is_read_whole(way: str, content: bytes) -> None:
    assert decompressed(io.BytesIO(WAYS[way](content))).read() == content


@pytest.mark.parametrize("way", COMPRESSED)
def test_what_is_cut_off_is_told_and_not_taken_for_the_whole(way: str) -> None:
    raw = WAYS[way](bytes(range(256)) * 400)
    with pytest.raises((*BROKEN, OSError)):
        decompressed(io.BytesIO(raw[: len(raw) // 2])).read()


def test_what_stands_before_it_is_left_where_it_is() -> None:
    raw = io.BytesIO(b"before" + gzip.compress(b"content"))
    raw.seek(6)
    assert decompressed(raw).read() == b"content"


@pytest.mark.parametrize("content", [b"", b"x", b"\x1f", b"BZ", b"\x28\xb5"])
def test_less_than_a_magic_number_is_itself(content: bytes) -> None:
    assert decompressed(io.BytesIO(content)).read() == content


@given(st.binary(max_size=5000), st.lists(st.integers(1, 700), max_size=8))
def test_a_digest_is_of_the_whole_source_however_much_was_read(content: bytes, sizes: list[int]) -> None:
    reader = HashingReader(io.BytesIO(content))
    read = b"".join(reader.read(size) for size in sizes)
    assert content.startswith(read) and reader.size == len(read)
    assert reader.digest() == f"sha256:{hashlib.sha256(content).hexdigest()}" == reader.digest()
    assert reader.size == len(content)


def test_a_tar_that_is_hashed_is_read_from_front_to_back() -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    reader = HashingReader(io.BytesIO(made.getvalue()))
    assert not reader.seekable()
    with pytest.raises(io.UnsupportedOperation):
        reader.seek(0, io.SEEK_SET)
    assert reader.digest() == f"sha256:{hashlib.sha256(made.getvalue()).hexdigest()}"
