"""The flags of `service create`, and those of updates, which `service update` has as well."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pyswarmd.cli import units

_MANY: dict[str, Any] = {"action": "append", "default": []}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Docker's flags of `service create` (docker/cli reference, service_create.md)."""
    _tasks(parser.add_argument)
    _container(parser.add_argument)
    _limits(parser.add_argument)
    add_update_settings(parser)
    _health_and_names(parser.add_argument)


def _tasks(p: Callable[..., object]) -> None:
    """How many, and where."""
    p("--name", default="")
    p("--mode", choices=("replicated", "global", "replicated-job", "global-job"), default="replicated")
    p("--replicas", type=units.integer, default=None)
    p("--replicas-max-per-node", type=units.integer, default=0)
    p("--constraint", **_MANY)
    p("--placement-pref", **_MANY, metavar="spread=node.labels.KEY")


def _container(p: Callable[..., object]) -> None:
    p("-e", "--env", **_MANY, metavar="KEY=VALUE")
    p("--env-file", **_MANY, metavar="FILE")
    p("-l", "--label", **_MANY)
    p("--container-label", **_MANY)
    p("--entrypoint", help="command line, split at spaces")
    p("-w", "--workdir", default="")
    p("-u", "--user", default="")
    p("--group", **_MANY)
    p("--hostname", default="")
    p("--host", **_MANY, dest="hosts", metavar="NAME:ADDRESS")
    p("-t", "--tty", action="store_true")
    p("--init", action="store_true")
    p("--read-only", action="store_true")
    p("--mount", **_MANY, metavar="type=tmpfs,dst=/x")
    p("--network", **_MANY)
    p("-p", "--publish", **_MANY)
    p("--secret", **_MANY)
    p("--config", **_MANY)
    p("--cap-add", **_MANY)
    p("--cap-drop", **_MANY)
    p("--sysctl", **_MANY)


def _limits(p: Callable[..., object]) -> None:
    """Of resources, of time, of attempts."""
    p("--ulimit", **_MANY, metavar="NAME=SOFT[:HARD]")
    p("--oom-score-adj", type=units.integer, default=0)
    p("--limit-cpu", default="0")
    p("--limit-memory", default="0")
    p("--limit-pids", type=units.integer, default=0)
    p("--reserve-cpu", default="0")
    p("--reserve-memory", default="0")
    p("--stop-signal", default="")
    p("--stop-grace-period", default=None)
    p("--restart-condition", choices=("none", "on-failure", "any"), default=None)
    p("--restart-delay", default=None)
    p("--restart-max-attempts", type=units.integer, default=None)
    p("--restart-window", default=None)


def _health_and_names(p: Callable[..., object]) -> None:
    p("--health-cmd", default=None)
    p("--no-healthcheck", action="store_true")
    p("--dns", **_MANY, metavar="ADDRESS")
    p("--dns-option", **_MANY, metavar="NAME[:VALUE]")
    p("--dns-search", **_MANY, metavar="DOMAIN")
    p("--endpoint-mode", choices=("vip", "dnsrr"), default=None)
    p("--log-driver", default=None)
    p("--log-opt", **_MANY)


def add_update_settings(parser: argparse.ArgumentParser) -> None:
    p = parser.add_argument
    for what, actions in (("update", ("pause", "continue", "rollback")), ("rollback", ("pause", "continue"))):
        p(f"--{what}-parallelism", type=units.integer, default=None, help="slots at a time, 0 = all")
        p(f"--{what}-delay", default=None)
        p(f"--{what}-failure-action", choices=actions, default=None)
        p(f"--{what}-monitor", default=None, help="how long a new task must not fail")
        p(f"--{what}-max-failure-ratio", default=None, metavar="0..1")
        p(f"--{what}-order", choices=("stop-first", "start-first"), default=None)
