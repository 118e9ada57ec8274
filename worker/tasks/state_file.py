"""The SQLite file below StateDb: opened, written in transactions, and set aside when it is damaged.

What is wrong with the file itself (not a database, pages or rows that make no sense, another format) cannot be mended
by trying again: the file is kept under another name and a new one is begun. Everything else (a full disk) passes.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from swarmcore.model.task import Task, TaskStatus
from swarmcore.rpc.messages.session import ManagerAddress

SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (id TEXT PRIMARY KEY, task BLOB NOT NULL, status BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS managers (node_id TEXT PRIMARY KEY, address TEXT NOT NULL) WITHOUT ROWID;
"""
FORMAT = 1
KEPT = 5  # damaged files that are kept beside it
_OF_THE_FILE = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_MISMATCH}
)

Statement = tuple[str, tuple[object, ...]]


class Remembered(Struct, frozen=True, kw_only=True):
    """A task as last assigned, and its last observed status (None: it was never looked at)."""

    task: Task
    status: TaskStatus | None


class Content(Struct, frozen=True, kw_only=True):
    tasks: dict[str, Remembered]
    managers: tuple[ManagerAddress, ...]


class Damaged(Exception):
    """What is in the file makes no sense; `str()` says what."""


def is_damage(error: BaseException) -> bool:
    """Whether the file itself is at fault, so that only a new one helps."""
    if isinstance(error, Damaged):
        return True
    code = getattr(error, "sqlite_errorcode", None)  # None: the module's own complaint, not SQLite's
    return isinstance(error, sqlite3.DatabaseError) and code is not None and code & 0xFF in _OF_THE_FILE


def _is_of_another_kind(error: BaseException) -> bool:
    """While the file is opened: the statements are right and nothing is under way, so the schema is not ours (names
    that are no text, a format to come). At other times SQLite has the same code for much else."""
    if isinstance(error, UnicodeDecodeError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return (
        isinstance(error, sqlite3.OperationalError)
        and code is not None
        and code & 0xFF == sqlite3.SQLITE_ERROR
    )


def _check_writable(connection: sqlite3.Connection) -> None:
    """Raises where SQLite only reads the file: its header says that a version to come writes it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("DELETE FROM tasks WHERE 0")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
            raise Damaged(
                f"it cannot be written: {error}"
            ) from error  # that we may write it was shown before
        raise
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class StateFile:
    """Not safe for two threads at once. `open` first; every method may raise sqlite3.Error or OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> Content:
        """Read everything; Damaged or a DatabaseError that `is_damage` knows where a new file is needed."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            content = _read(connection)
            _check_writable(connection)
        except BaseException as error:
            connection.close()
            if _is_of_another_kind(error):
                raise Damaged(f"it cannot be read: {error}") from error
            raise
        self._connection = connection
        return content

    def set_aside(self) -> Path:
        """Keep what is there under another name (returned); `open` begins a new file then."""
        self.close()
        names = [f"{self._path.name}.damaged{number or ''}" for number in range(KEPT)]
        free = next((name for name in names if not self._path.with_name(name).exists()), names[-1])
        kept = self._path.with_name(free)
        self._path.rename(kept)
        for suffix in ("-wal", "-shm"):
            beside = self._path.with_name(self._path.name + suffix)
            with contextlib.suppress(FileNotFoundError):
                beside.rename(kept.with_name(kept.name + suffix))
        return kept

    def write(self, statements: Iterable[Statement]) -> None:
        """All of them, on disk when it returns, or none. Opens the file where that did not work before."""
        if self._connection is None:
            self.open()
        connection = self._connection
        assert connection is not None
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, values in statements:
                connection.execute(sql, values)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()


def _read(connection: sqlite3.Connection) -> Content:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, FORMAT):
        raise Damaged(f"it has format {version}, this pyswarm reads {FORMAT}")
    if version == 0:
        connection.executescript(SCHEMA)
        connection.execute(f"PRAGMA user_version={FORMAT}")
    try:
        tasks = {
            task_id: Remembered(
                task=msgspec.msgpack.decode(task, type=Task),
                status=None if status is None else msgspec.msgpack.decode(status, type=TaskStatus),
            )
            for task_id, task, status in connection.execute("SELECT id, task, status FROM tasks")
        }
        rows = connection.execute("SELECT node_id, address FROM managers ORDER BY node_id")
        managers = tuple(ManagerAddress(node_id=n, address=a) for n, a in rows)
    except (msgspec.DecodeError, TypeError, UnicodeDecodeError) as error:
        raise Damaged(f"a row makes no sense: {error}") from error
    except sqlite3.OperationalError as error:
        # SQLite has one code for what is not there and for much else; text that is none is told without a code.
        if "no such" in str(error) or getattr(error, "sqlite_errorcode", None) is None:
            raise Damaged(str(error)) from error
        raise
    return Content(tasks=tasks, managers=managers)
