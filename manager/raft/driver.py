"""When raft acts: a message came, something was proposed, or a deadline is due. No polling, no thread."""

from __future__ import annotations

import logging
from collections.abc import Callable

from manager.raft.core import RaftCore
from manager.raft.interfaces import Scheduler, TimerHandle
from manager.raft.messages import Message
from swarmcore.errors import SwarmError

log = logging.getLogger(__name__)
#: Never spin, whatever a deadline says.
_SHORTEST = 0.001


class Driver:
    """Ticks the core once for everything that one turn of the event loop brought: that is the group commit.

    Any exception that is not an answer to a user stops raft for good: going on could break promises.
    """

    def __init__(self, core: RaftCore, scheduler: Scheduler, on_fatal: Callable[[Exception], None]) -> None:
        self._core = core
        self._scheduler = scheduler
        self._on_fatal = on_fatal
        self._turn: TimerHandle | None = None
        self._timer: TimerHandle | None = None
        self.stopped = False
        self.after_tick: Callable[[], None] = lambda: None

    def kick(self) -> None:
        """Tick soon, once, however often this is called before."""
        if self._turn is None and not self.stopped:
            self._turn = self._scheduler.call_soon(self._tick)

    def receive(self, peer: str, message: Message) -> None:
        self.run(lambda: self._core.receive(peer, message))

    def run(self, act: Callable[[], None]) -> None:
        """Do something with the core, then tick."""
        if self.stopped:
            return
        try:
            act()
        except SwarmError:
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the component: it stops here
            self._fail(error)
        else:
            self.kick()

    def _tick(self) -> None:
        self._turn = None
        if self.stopped:
            return
        if self._timer is not None:
            self._timer.cancel()
        try:
            self._core.tick()
        except Exception as error:  # noqa: BLE001 - the edge of the component: it stops here
            self._fail(error)
            return
        if self._turn is None:
            self._timer = self._scheduler.call_later(max(_SHORTEST, self._core.next_deadline()), self.kick)
        self.after_tick()

    def stop(self) -> None:
        self.stopped = True
        for handle in (self._turn, self._timer):
            if handle is not None:
                handle.cancel()
        self._turn = self._timer = None

    def _fail(self, error: Exception) -> None:
        log.critical("raft stops", exc_info=error, extra={"node": self._core.node_id})
        self.stop()
        self._on_fatal(error)
