"""What a worker must remember over a restart: its tasks, how far each came, and where the managers are.

SQLite in WAL mode with synchronous=FULL. One thread does all statements; what arrives while it syncs goes
into one next transaction, so that fifty tasks changing together cost a few syncs, not fifty. Secrets and
configs are never written here: they come again with the first assignment of a session.

What cannot be written (a full disk) is written later, from memory, without anybody asking again. A damaged
file is set aside: at `open` what it held is asked from the leader again (`lost`), later it is in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import msgspec

from swarmcore.aio import in_thread
from swarmcore.errors import Internal
from swarmcore.model.task import Task, TaskStatus
from swarmcore.process.faults import Faults
from swarmcore.rpc.messages.session import ManagerAddress
from worker.tasks.state_file import Content, Remembered, StateFile, Statement, is_damage

log = logging.getLogger(__name__)
RETRY = 1.0  # seconds between attempts to write what could not be written
PART = "task database"
_MANAGERS = ""  # among the ids of what is not on disk: no task has this one
_PUT_TASK = "INSERT INTO tasks (id, task) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET task = excluded.task"
_PUT_BOTH = "INSERT OR REPLACE INTO tasks (id, task, status) VALUES (?, ?, ?)"

Work = tuple[Sequence[Statement], Sequence[str], Callable[[BaseException | None], None]]


class StateDb:
    """Reads happen once, at `open`; writes are awaited (`flushed` or the returned future) or not, as needed.

    A future that fails with Internal says that the change is not on disk yet.
    """

    def __init__(self, path: Path, faults: Faults | None = None) -> None:
        self._path = path
        self._file = StateFile(path)
        self._faults = faults or Faults()
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._behind: set[str] = set()  # the thread's: ids whose rows are older than what is in memory
        self.tasks: dict[str, Remembered] = {}
        self.managers: tuple[ManagerAddress, ...] = ()
        #: The file was damaged: the tasks of this node are not known until the leader tells them.
        self.lost = False

    @property
    def is_open(self) -> bool:
        return self._thread is not None

    async def open(self) -> None:
        """Read everything. A file that is not ours or damaged is set aside, never silently overwritten.

        Internal if it can be neither read nor begun anew; try again.
        """
        try:
            content = await in_thread(self._open)
        except asyncio.CancelledError:
            self._file.close()  # the thread is done with it, and nobody else will be
            raise
        except (sqlite3.Error, OSError) as error:
            raise Internal(f"cannot open {self._path}: {error}", "check the disk") from error
        self.tasks, self.managers = content.tasks, content.managers
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write_all, name="state-db", daemon=True)
        self._thread.start()

    def _open(self) -> Content:
        try:
            return self._file.open()
        except Exception as error:
            if not is_damage(error):
                raise
            self._set_aside(error)
            self.lost = True
            return self._file.open()

    def _set_aside(self, error: BaseException) -> None:
        kept = self._file.set_aside()
        log.error(
            "the database of this node's tasks is damaged, beginning a new one",
            extra={"kept": str(kept), "reason": str(error)},
        )

    def put_tasks(self, tasks: Collection[Task]) -> asyncio.Future[None]:
        """Remember assignments; statuses already known stay."""
        for task in tasks:
            known = self.tasks.get(task.id)
            self.tasks[task.id] = Remembered(task=task, status=known.status if known else None)
        rows = [(_PUT_TASK, (task.id, msgspec.msgpack.encode(task))) for task in tasks]
        return self._submit(rows, [task.id for task in tasks])

    def put_status(self, task_id: str, status: TaskStatus) -> asyncio.Future[None]:
        """Remember how far the task came. One that is lost in a crash is observed again: the container tells."""
        if (known := self.tasks.get(task_id)) is None:
            return self._submit([], [])
        self.tasks[task_id] = Remembered(task=known.task, status=status)
        blob = msgspec.msgpack.encode(status)
        return self._submit([("UPDATE tasks SET status = ? WHERE id = ?", (blob, task_id))], [task_id])

    def forget_task(self, task_id: str) -> asyncio.Future[None]:
        self.tasks.pop(task_id, None)
        return self._submit([("DELETE FROM tasks WHERE id = ?", (task_id,))], [task_id])

    def put_managers(self, managers: tuple[ManagerAddress, ...]) -> asyncio.Future[None]:
        if managers == self.managers:
            return self._submit([], [])
        self.managers = managers
        return self._submit(self._manager_rows(), [_MANAGERS])

    def flushed(self) -> asyncio.Future[None]:
        """Done when everything handed over so far is on disk."""
        return self._submit([], [], barrier=True)

    async def close(self) -> None:
        if self._thread is None:
            return
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    def _submit(
        self, statements: Sequence[Statement], ids: Sequence[str], *, barrier: bool = False
    ) -> asyncio.Future[None]:
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
                return
            failure = Internal(f"cannot write {self._path}: {error}", "check the disk")
            failure.__cause__ = error
            future.set_exception(failure)
            future.exception()  # whoever does not await it shall not get a warning at exit: `Faults` tells

        self._queue.put((statements, ids, lambda error: self._call(settle, error)))
        return future

    def _call(self, function: Callable[[BaseException | None], None], error: BaseException | None) -> None:
        """From the thread: on the loop."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(function, error)

    # -- the thread --------------------------------------------------------------------------------
    def _write_all(self) -> None:
        """Everything that waits becomes one transaction; what failed is tried again with the next, or after RETRY."""
        closing = False
        while not closing:
            work: list[Work | None] = []
            with contextlib.suppress(queue.Empty):
                work.append(self._queue.get(timeout=RETRY if self._behind else None))
            while not self._queue.empty():
                work.append(self._queue.get())
            batch = [item for item in work if item is not None]
            closing = len(batch) < len(work)
            statements = [statement for rows, _, _ in batch for statement in rows]
            ids = {each for _, touched, _ in batch for each in touched}
            error = self._attempt(statements, ids)
            for _, _, done in batch:
                done(error)
        self._file.close()

    def _attempt(self, statements: Sequence[Statement], ids: set[str]) -> BaseException | None:
        """Write, with whatever is behind; what it failed with."""
        if not (statements or self._behind):
            return None
        recovering = bool(self._behind)
        try:
            self._file.write([*self._rows(self._behind), *statements])
        except Exception as error:  # noqa: BLE001 - all waiters hear of it; the thread lives on
            if is_damage(error) and self._begin_anew(error):
                recovering = True
            else:
                self._behind |= ids
                self._call(self._trouble, error)
                return error
        self._behind.clear()
        if recovering:
            self._call(self._trouble, None)
        return None

    def _begin_anew(self, error: BaseException) -> bool:
        """The file was damaged while we had it: memory knows all that it held."""
        try:
            self._set_aside(error)
            self._file.open()
            self._file.write(self._rows({*self.tasks, _MANAGERS}))
        except Exception as again:  # noqa: BLE001 - tried again with the next write
            log.warning("no new database can be begun yet", extra={"reason": str(again)})
            self._behind |= {*self.tasks, _MANAGERS}
            return False
        return True

    def _rows(self, ids: Iterable[str]) -> list[Statement]:
        """Statements that make the file agree with memory about these."""
        rows: list[Statement] = []
        for task_id in ids:
            if task_id == _MANAGERS:
                rows += self._manager_rows()
            elif (known := self.tasks.get(task_id)) is None:
                rows.append(("DELETE FROM tasks WHERE id = ?", (task_id,)))
            else:
                status = None if known.status is None else msgspec.msgpack.encode(known.status)
                rows.append((_PUT_BOTH, (task_id, msgspec.msgpack.encode(known.task), status)))
        return rows

    def _manager_rows(self) -> list[Statement]:
        rows: list[Statement] = [("DELETE FROM managers", ())]
        return rows + [("INSERT INTO managers VALUES (?, ?)", (m.node_id, m.address)) for m in self.managers]

    def _trouble(self, error: BaseException | None) -> None:
        """On the loop: tell when writing begins to fail, and when it works again."""
        if error is None:
            self._faults.over(PART)
            log.info("the database of this node's tasks is whole again")
        elif self._faults.failed(PART, Internal(f"cannot write {self._path}: {error}")):
            log.warning("cannot write what this node must remember", extra={"reason": str(error)})
