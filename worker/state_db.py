"""What a worker must remember over a restart: its tasks, how far each came, and where the managers are.

SQLite in WAL mode with synchronous=FULL. One thread does all statements; what arrives while it syncs goes
into one next transaction, so that fifty tasks changing together cost a few syncs, not fifty. Secrets and
configs are never written here: they come again with the first assignment of a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from swarmcore.errors import Internal
from swarmcore.model.task import Task, TaskStatus
from swarmcore.rpc.messages.session import ManagerAddress

SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (id TEXT PRIMARY KEY, task BLOB NOT NULL, status BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS managers (node_id TEXT PRIMARY KEY, address TEXT NOT NULL) WITHOUT ROWID;
"""
FORMAT = 1

Statement = tuple[str, tuple[object, ...]]
Done = Callable[[BaseException | None], None]


class Remembered(Struct, frozen=True, kw_only=True):
    """A task as last assigned, and its last observed status (None: it was never looked at)."""

    task: Task
    status: TaskStatus | None


class StateDb:
    """Reads happen once, at `open`; writes are awaited (`flushed` or the returned future) or not, as needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[tuple[Sequence[Statement], Done] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.tasks: dict[str, Remembered] = {}
        self.managers: tuple[ManagerAddress, ...] = ()

    async def open(self) -> None:
        """Read everything. A file that is not ours or damaged is set aside, never silently overwritten."""
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, FORMAT):
                raise Internal(f"{self._path} has format {version}, this pyswarm reads {FORMAT}")
            connection.executescript(SCHEMA)
            connection.execute(f"PRAGMA user_version={FORMAT}")
            for task_id, task, status in connection.execute("SELECT id, task, status FROM tasks"):
                self.tasks[task_id] = Remembered(
                    task=msgspec.msgpack.decode(task, type=Task),
                    status=None if status is None else msgspec.msgpack.decode(status, type=TaskStatus),
                )
            rows = connection.execute("SELECT node_id, address FROM managers ORDER BY node_id")
            self.managers = tuple(ManagerAddress(node_id=n, address=a) for n, a in rows)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise Internal(
                f"the worker's state {self._path} cannot be read: {error}",
                "move the file away and start again; the containers that it knew are then removed",
            ) from error
        except BaseException:
            connection.close()
            raise
        self._thread = threading.Thread(target=self._write, args=(connection,), name="state-db", daemon=True)
        self._thread.start()

    def put_tasks(self, tasks: Sequence[Task]) -> asyncio.Future[None]:
        """Remember assignments; statuses already known stay."""
        for task in tasks:
            known = self.tasks.get(task.id)
            self.tasks[task.id] = Remembered(task=task, status=known.status if known else None)
        return self._submit(
            [
                (
                    "INSERT INTO tasks (id, task) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET task = excluded.task",
                    (task.id, msgspec.msgpack.encode(task)),
                )
                for task in tasks
            ]
        )

    def put_status(self, task_id: str, status: TaskStatus) -> asyncio.Future[None]:
        """Need not be awaited: a lost status is observed again, a task never goes back because of it."""
        if (known := self.tasks.get(task_id)) is None:
            return self._submit([])
        self.tasks[task_id] = Remembered(task=known.task, status=status)
        blob = msgspec.msgpack.encode(status)
        return self._submit([("UPDATE tasks SET status = ? WHERE id = ?", (blob, task_id))])

    def forget_task(self, task_id: str) -> asyncio.Future[None]:
        self.tasks.pop(task_id, None)
        return self._submit([("DELETE FROM tasks WHERE id = ?", (task_id,))])

    def put_managers(self, managers: tuple[ManagerAddress, ...]) -> asyncio.Future[None]:
        if managers == self.managers:
            return self._submit([])
        self.managers = managers
        rows: list[Statement] = [("DELETE FROM managers", ())]
        rows += [("INSERT INTO managers VALUES (?, ?)", (m.node_id, m.address)) for m in managers]
        return self._submit(rows)

    def flushed(self) -> asyncio.Future[None]:
        """Done when everything handed over so far is on disk."""
        return self._submit([], barrier=True)

    async def close(self) -> None:
        if self._thread is None:
            return
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    def _submit(self, statements: Sequence[Statement], *, barrier: bool = False) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if self._thread is None:
            raise RuntimeError("the state database is not open")
        if not statements and not barrier:
            future.set_result(None)
            return future

        def settle(error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                self._failure = error
                future.set_exception(Internal(f"cannot write {self._path}: {error}", "check the disk"))
                future.exception()  # whoever does not await it shall not get a warning at exit; `failure` tells

        def done(error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(settle, error)

        self._queue.put((statements, done))
        return future

    @property
    def failure(self) -> BaseException | None:
        """The last write that failed (a full disk); the tasks run on, a restart would know less."""
        return self._failure

    def _write(self, connection: sqlite3.Connection) -> None:
        """The thread: everything that waits becomes one transaction."""
        closing = False
        while not closing:
            work = [self._queue.get()]
            while not self._queue.empty():
                work.append(self._queue.get())
            batch = [item for item in work if item is not None]
            closing = len(batch) < len(work)
            error: BaseException | None = None
            try:
                if any(statements for statements, _ in batch):
                    connection.execute("BEGIN IMMEDIATE")
                    for statements, _ in batch:
                        for sql, values in statements:
                            connection.execute(sql, values)
                    connection.execute("COMMIT")
            except sqlite3.Error as problem:
                error = problem
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            for _, done in batch:
                done(error)
        connection.close()
