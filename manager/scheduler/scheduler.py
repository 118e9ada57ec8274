"""The leader's loop that gives each PENDING task a node, or says in its status why none is suitable.

It follows commits: a new task is decided at once, all that came meanwhile together and at most one raft entry at
a time. Tasks without a suitable node are held, and decided again when a node changes or a task's end makes room.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import islice

from manager.scheduler.nodeset import NodeSet, waits_for_node
from manager.scheduler.plan import Decision, plan, write
from manager.store.store import Store
from manager.store.tables import View
from manager.store.tx import MAX_CHANGES, Tx
from manager.store.watch import Commit, Feed, Lagged
from swarmcore.aio import in_turns
from swarmcore.clock import Clock
from swarmcore.errors import OutOfSequence, Unavailable
from swarmcore.model.node import Node
from swarmcore.model.task import Task

log = logging.getLogger(__name__)
RETRY = 0.1  # seconds until a lost write is planned again from the state


class Scheduler:
    """Runs while this manager leads; its first pass looks at every node and task."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        while True:
            try:
                with self._store.view_and_watch(kinds=frozenset({Node, Task})) as (view, feed):
                    nodes = NodeSet()
                    await in_turns(nodes.load_in_turns(view, self._clock.now()))
                    await _Pass(self._store, self._clock, nodes, view).follow(feed)
            except Lagged:
                log.info("the scheduler fell behind the store and starts over")
            except (Unavailable, OutOfSequence) as error:
                # Whether the write happened is what the state will say.
                log.info("tasks are scheduled again in a moment", extra={"error": str(error)})
                await self._clock.sleep(RETRY)


class _Pass:
    """The scheduling from one view of the state on, until a write or the feed fails."""

    def __init__(self, store: Store, clock: Clock, nodes: NodeSet, view: View) -> None:
        self._store = store
        self._clock = clock
        self._nodes = nodes
        self._waiting = {task.id: task for task in view.tasks if waits_for_node(task)}
        self._held: dict[str, Task] = {}  # no node is suitable as things are
        self._changed = False  # things are not as they were

    async def follow(self, feed: Feed) -> None:
        self._note(feed.drain())
        while True:
            while self._waiting and await self._decide():
                self._note(feed.drain())
            self._note((await feed.get(), *feed.drain()))

    def _note(self, commits: tuple[Commit, ...]) -> None:
        for commit in commits:
            for change in commit.changes:
                match change.object:
                    case Node() as node if change.kind == "remove":
                        self._changed |= self._nodes.remove_node(node.id)
                    case Node() as node:
                        self._changed |= self._nodes.put_node(node)
                    case Task() as task:
                        self._note_task(task, removed=change.kind == "remove")
        if self._changed:
            self._waiting = self._held | self._waiting
            self._held = {}
            self._changed = False

    def _note_task(self, task: Task, *, removed: bool) -> None:
        if removed or not waits_for_node(task):
            self._waiting.pop(task.id, None)
            self._held.pop(task.id, None)
        else:
            (self._held if task.id in self._held else self._waiting)[task.id] = task
        if removed:
            self._changed |= self._nodes.remove_task(task.id)
        else:
            self._changed |= self._nodes.put_task(task, self._clock.now())

    async def _decide(self) -> bool:
        """Decide on as many tasks as one raft entry takes; False if a commit that is not noted yet stood against."""
        tasks = list(islice(self._waiting.values(), MAX_CHANGES))
        decisions = plan(self._nodes, tasks, self._clock.now())
        refused: list[Decision] = []
        if news := [decision for decision in decisions if decision.is_news]:
            refused = await self._write(news)
        else:
            await asyncio.sleep(0)  # however many are held, the others get their turns
        for decision in decisions:
            del self._waiting[decision.task.id]
            if decision.placed is None:
                self._held[decision.task.id] = decision.task
        for decision in refused:
            # Why is in a commit that waits in the feed: it forgets the task or makes the choice anew.
            self._nodes.remove_task(decision.task.id)
            self._held.pop(decision.task.id, None)
            self._waiting[decision.task.id] = decision.task
        _report(decisions, len(refused))
        return not refused

    async def _write(self, decisions: list[Decision]) -> list[Decision]:
        """Those that did not hold any more, or did not fit the entry with the others."""

        def change(tx: Tx) -> list[Decision]:
            refused: list[Decision] = []
            for position, decision in enumerate(decisions):
                mark = tx.mark()
                holds = write(tx, decision)
                if holds and not tx.fits and len(refused) < position:  # others go before it
                    tx.undo_to(mark)
                    holds = False
                if not holds:
                    refused.append(decision)
            return refused

        return await self._store.transact(change)


def _report(decisions: list[Decision], refused: int) -> None:
    if placed := sum(decision.placed is not None for decision in decisions):
        log.info("tasks assigned", extra={"tasks": placed - refused, "overtaken": refused})
    for reason in sorted({d.reason for d in decisions if d.placed is None and d.is_news}):
        log.info("tasks wait for a node", extra={"reason": reason})
