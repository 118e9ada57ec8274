"""Archives that cost too much end their reader, never the daemon, and say so in one line."""

from __future__ import annotations

import asyncio
import gzip
import json
import lzma
import os
import tarfile
import zlib
from pathlib import Path

import msgspec
import pytest

from swarmcore.errors import Invalid
from tests.worker.images.archives import config, member, saved, tar, written
from worker.images import reading
from worker.images.limits import DiskFull, Limits
from worker.images.reader import Answer, Job, guarded
from worker.images.store import ImageStore

pytestmark = pytest.mark.root


async def refusal(tmp_path: Path, raw: bytes | Path, **limits: int | float) -> str:
    store = ImageStore(tmp_path / "images", Limits(**limits))  # type: ignore[arg-type]
    await store.open()
    path = raw if isinstance(raw, Path) else written(tmp_path / "a.tar", raw)
    with pytest.raises(Invalid) as failure:
        await store.load(path)
    assert store.list() == ()
    assert not any((tmp_path / "images/staging").iterdir())
    text = str(failure.value)
    assert len(text) < 500 and "\n" not in text
    return text


def _gzip_of_zeros(head: bytes, mebibytes: int) -> bytes:
    """`head` and many zeros, in a thousandth of their size."""
    return gzip.compress(head) + gzip.compress(bytes(64 << 20), 1) * (mebibytes // 64)


async def test_a_long_name_of_gigabytes_in_a_small_archive_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1500 << 20
    bomb = _gzip_of_zeros(header.tobuf(tarfile.GNU_FORMAT), 64)
    assert "has a header of 1572864000 bytes" in await refusal(tmp_path, bomb)


async def test_memory_is_bounded(tmp_path: Path) -> None:
    """The archive's own header asks for a dictionary of four gigabytes."""
    raw = bytearray(lzma.compress(saved([tar(member("x"))], ["app"])))
    end = 12 + (raw[12] + 1) * 4
    raw[raw.index(b"\x21\x01", 12) + 2] = 40
    raw[end - 4 : end] = zlib.crc32(raw[12 : end - 4]).to_bytes(4, "little")
    assert "more than 768 MiB of memory" in await refusal(tmp_path, bytes(raw))


async def test_a_large_window_of_zstd_is_refused(tmp_path: Path) -> None:
    frame = b"\x28\xb5\x2f\xfd\x00\x98" + b"\x01\x00\x00"  # a window of 512 MiB, an empty last block
    assert "this is no image archive" in await refusal(tmp_path, frame)


async def test_processor_time_is_bounded(tmp_path: Path) -> None:
    layer = _gzip_of_zeros(bytes(1024), 64 << 10)  # what follows a tar archive belongs to its digest
    text = await refusal(tmp_path, saved([layer], ["app"]), seconds=1, seconds_per_mib=0.0)
    assert "more processor time" in text


async def test_entries_are_bounded(tmp_path: Path) -> None:
    layer = tar(*(member(f"f{number}") for number in range(60)))
    assert "more than 100 entries" in await refusal(
        tmp_path, saved([layer, layer + b"\0"], ["app"]), entries=100
    )


async def test_unpacked_bytes_are_bounded(tmp_path: Path) -> None:
    layer = tar(member("x", bytes(1 << 20)), member("y", bytes(1 << 20)))
    raw = saved([gzip.compress(layer)], ["app"], raw_config=None)
    assert "more than 1 MiB" in await refusal(tmp_path, raw, unpacked=1 << 20)


async def test_the_number_of_images_is_bounded(tmp_path: Path) -> None:
    entry = {"Config": "c.json", "RepoTags": ["app"], "Layers": []}
    manifest = json.dumps([entry] * 3).encode()
    raw = tar(member("c.json", config([])), member("manifest.json", manifest))
    assert "more than 2 images" in await refusal(tmp_path, raw, images=2)


async def test_some_of_the_disk_is_left_to_others(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images", Limits(reserve=1 << 62, reserve_share=2.0))
    await store.open()
    with pytest.raises(DiskFull, match=r"no space left on the disk of .*; nothing was changed"):
        await store.load(written(tmp_path / "a.tar", saved([tar(member("x", b"x"))], ["app"])))


def test_the_time_for_an_archive_grows_with_it() -> None:
    limits = Limits(seconds=100, seconds_per_mib=2.0)
    assert [limits.processor_seconds(size << 20) for size in (0, 10, 1000)] == [100, 120, 2100]


async def test_the_reader_ends_with_the_daemon(tmp_path: Path) -> None:
    """The archive is a pipe that nobody writes to: it would wait for ever."""
    pipe, staging = tmp_path / "pipe", tmp_path / "staging"
    os.mkfifo(pipe)
    staging.mkdir()
    job = Job(path=str(pipe), staging=str(staging), layers=str(tmp_path), limits=Limits())
    child = await asyncio.create_subprocess_exec(*reading.command(), stdin=asyncio.subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.write(msgspec.json.encode(job) + b"\n")
    writer = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)  # returns when the reader is in the middle
    try:
        child.stdin.close()
        assert await child.wait() == 1
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    "error", [ValueError("a\nb" * 9000), KeyError("x"), RecursionError(), MemoryError(), OSError("bad")]
)
def test_what_nobody_foresaw_is_one_line(tmp_path: Path, error: Exception) -> None:
    def work(job: Job) -> Answer:
        raise error

    answer = guarded(Job(path="", staging=str(tmp_path), layers="", limits=Limits()), work)
    assert answer.failure is not None
    assert answer.failure.kind == "Invalid"
    assert len(answer.failure.message) <= 1000 and "\n" not in answer.failure.message
