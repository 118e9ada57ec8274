"""Policies of a service: when a task is replaced, how an update rolls, where tasks may run."""

from __future__ import annotations

from enum import StrEnum

from swarmcore.model.base import Nanoseconds, Part, Platform, Uint, shown

SECOND = 1_000_000_000
DEFAULT_RESTART_DELAY: Nanoseconds = 5 * SECOND
DEFAULT_MONITOR: Nanoseconds = 5 * SECOND


class RestartCondition(StrEnum):
    NONE = "none"
    ON_FAILURE = "on-failure"
    ANY = "any"


class RestartPolicy(Part, frozen=True, kw_only=True):
    """None means Docker's default: 5 s delay, no limit of attempts, no window."""

    condition: RestartCondition = shown(RestartCondition.ANY)
    delay: Nanoseconds | None = None
    max_attempts: Uint | None = None
    window: Nanoseconds | None = None

    @property
    def delay_ns(self) -> Nanoseconds:
        return DEFAULT_RESTART_DELAY if self.delay is None else self.delay


class FailureAction(StrEnum):
    PAUSE = "pause"
    CONTINUE = "continue"
    ROLLBACK = "rollback"


class UpdateOrder(StrEnum):
    STOP_FIRST = "stop-first"
    START_FIRST = "start-first"


class UpdateConfig(Part, frozen=True, kw_only=True):
    """Of updates and of rollbacks. Parallelism 0 = all at once; Monitor 0 = the default of 5 s."""

    parallelism: Uint = shown(0)
    delay: Nanoseconds = 0
    failure_action: FailureAction = shown(FailureAction.PAUSE)
    monitor: Nanoseconds = 0
    max_failure_ratio: float = shown(0.0)
    order: UpdateOrder = shown(UpdateOrder.STOP_FIRST)

    @property
    def monitor_ns(self) -> Nanoseconds:
        return self.monitor or DEFAULT_MONITOR


class SpreadOver(Part, frozen=True, kw_only=True):
    spread_descriptor: str = shown("")


class PlacementPreference(Part, frozen=True, kw_only=True):
    spread: SpreadOver | None = None


class Placement(Part, frozen=True, kw_only=True):
    """MaxReplicas 0 = as many on one node as fit; no platforms = any."""

    constraints: tuple[str, ...] = ()
    preferences: tuple[PlacementPreference, ...] = ()
    max_replicas: Uint = 0
    platforms: tuple[Platform, ...] = ()
