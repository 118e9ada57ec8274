"""The compressions that archives and layers come in, told by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import IO, Any, cast

from swarmcore.errors import Unsupported


def zstd_module() -> Any:
    """Python's own from 3.14 on, or its twin for older ones; None where neither is installed."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


_ZSTD = zstd_module()

_ZSTD_WINDOW = 27  # 128 MiB, what zstd's own tools take unasked
_OPENERS: tuple[tuple[bytes, Callable[[IO[bytes]], IO[bytes]]], ...] = (
    (b"\x1f\x8b", lambda raw: cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))),
    (b"BZh", lambda raw: cast(IO[bytes], bz2.BZ2File(raw, "rb"))),
    (b"\xfd7zXZ\0", lambda raw: cast(IO[bytes], lzma.LZMAFile(raw, "rb"))),  # noqa: SIM115
    (b"\x28\xb5\x2f\xfd", lambda raw: _zstd(raw)),
    *(
        (bytes((low,)) + b"\x2a\x4d\x18", lambda raw: _zstd(raw)) for low in range(0x50, 0x60)
    ),  # skippable first
)
BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, *((_ZSTD.ZstdError,) if _ZSTD else ()))


def _zstd(raw: IO[bytes]) -> IO[bytes]:
    if _ZSTD is None:
        raise Unsupported(
            "the archive is compressed with zstd, which nothing here reads", "install backports.zstd"
        )
    options = {_ZSTD.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
    return cast(IO[bytes], _ZSTD.ZstdFile(raw, "rb", options=options))


def decompressed(raw: IO[bytes]) -> IO[bytes]:
    """A stream of the content, whatever common compression it has."""
    head = raw.read(6)
    raw.seek(-len(head), io.SEEK_CUR)
    for magic, opener in _OPENERS:
        if head.startswith(magic):
            return opener(raw)
    return raw


class HashingReader:
    """Passes bytes on, from front to back, and keeps their SHA-256 and number."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self._sum, self.size = source, hashlib.sha256(), 0

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int) -> int:
        raise io.UnsupportedOperation("seek")

    def read(self, size: int) -> bytes:
        chunk = self._source.read(size)
        self._sum.update(chunk)
        self.size += len(chunk)
        return chunk

    def digest(self) -> str:
        """Of the whole source: the rest is read first (a tar reader stops before the padding)."""
        while self.read(1 << 18):
            continue
        return f"sha256:{self._sum.hexdigest()}"
