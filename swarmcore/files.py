"""Small files written whole or not at all, and directories and removals that survive a power loss."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PRIVATE = 0o700
_turns = threading.Condition()
_writing: set[Path] = set()


def write_atomically(path: Path, content: bytes, *, durable: bool, mode: int = 0o600) -> None:
    """Replace `path` by `content`: a reader or a killed daemon never sees half of it; `mode` whatever the umask says.

    `durable`: when this returns no power loss takes it away, nor leaves a part of it. Without that it costs no wait for
    the disk, and a power loss may leave an empty file: for what a restart of the host makes worthless anyway.

    The temporary name is fixed, so that a crash leaves at most one stray file, which the next write takes over. Threads
    that write the same file take turns; a directory belongs to one daemon.
    """
    temporary = _temporary(path)
    with _turn_to_write(path):
        temporary.unlink(missing_ok=True)  # a stray one may have another mode or be a link
        try:
            _write(temporary, content, mode, durable=durable)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            sync_directory(path.parent)


def remove_durably(path: Path) -> None:
    """Remove `path` if it is there, and its stray temporary file; no power loss brings them back."""
    _temporary(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync_directory(path.parent)


def private_directory(path: Path) -> None:
    """Make `path` a directory that only its owner enters; its name, and those of missing parents, are durable."""
    _make(path)
    path.chmod(_PRIVATE)


def sync_directory(path: Path) -> None:
    """Make the names in it durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a directory and all below it; not an error if it is not there."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        if path.exists():
            raise


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _write(path: Path, content: bytes, mode: int, *, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        if durable:
            file.flush()
            os.fsync(descriptor)


def _make(directory: Path) -> None:
    if directory.is_dir():
        return
    _make(directory.parent)
    directory.mkdir(_PRIVATE, exist_ok=True)
    sync_directory(directory.parent)


@contextmanager
def _turn_to_write(path: Path) -> Iterator[None]:
    """Whoever took the temporary file of another for a stray one would put half a file in the other's name."""
    with _turns:
        _turns.wait_for(lambda: path not in _writing)
        _writing.add(path)
    try:
        yield
    finally:
        with _turns:
            _writing.discard(path)
            _turns.notify_all()
