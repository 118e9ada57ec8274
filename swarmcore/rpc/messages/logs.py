"""Service logs between nodes: the leader asks the agents, the agents publish, a follower listens in.

`SubscribeLogs` travels on the agent's session; the agent answers with a stream of its own, opened by
`PublishLogs` and carrying `LogBatch`es until `LogsEnd`. A follower that serves `service logs` opens
`LogsRequest` at the leader and receives the same `LogBatch`es and `LogsEnd`.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class LogStream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"


class LogSelector(Struct, frozen=True, kw_only=True):
    """Whose output: the tasks named, all tasks of the services named."""

    task_ids: tuple[str, ...] = ()
    service_ids: tuple[str, ...] = ()


class LogOptions(Struct, frozen=True, kw_only=True):
    """`tail` lines of the past per task (None = all), nothing before `since`, then what comes if `follow`."""

    follow: bool = False
    since: datetime | None = None
    tail: int | None = None
    stdout: bool = True
    stderr: bool = True


class LogMessage(Struct, frozen=True, kw_only=True):
    """One line of one task with where it comes from, for the attributes that `--details` shows."""

    node_id: str
    service_id: str
    task_id: str
    stream: LogStream
    timestamp: datetime
    data: bytes


class SubscribeLogs(Struct, frozen=True, kw_only=True, tag="subscribe-logs"):
    """To an agent: publish the logs of these of your tasks. Repeated with more tasks while following."""

    subscription_id: str
    task_ids: tuple[str, ...]
    options: LogOptions


class UnsubscribeLogs(Struct, frozen=True, kw_only=True, tag="unsubscribe-logs"):
    subscription_id: str


class PublishLogs(Struct, frozen=True, kw_only=True, tag="publish-logs"):
    """Opens the agent's stream for one `SubscribeLogs`; names the tasks that this stream carries."""

    subscription_id: str
    task_ids: tuple[str, ...]


class LogBatch(Struct, frozen=True, kw_only=True, tag="log-batch"):
    messages: tuple[LogMessage, ...]


class LogsEnd(Struct, frozen=True, kw_only=True, tag="logs-end"):
    """Everything asked for was sent, but for what the warnings say is missing."""

    warnings: tuple[str, ...] = ()


class LogsRequest(Struct, frozen=True, kw_only=True, tag="logs-request"):
    """A manager that does not lead asks the leader; never forwarded a second time."""

    selector: LogSelector
    options: LogOptions


FromPublisher = LogBatch | LogsEnd
