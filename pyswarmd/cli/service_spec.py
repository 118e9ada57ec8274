"""`service create` flags to the ServiceSpec that the Engine API takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pyswarmd.cli import joining, ports, units
from pyswarmd.cli.environment import environment
from pyswarmd.cli.mount import mount
from swarmcore.errors import Invalid


def spec(options: argparse.Namespace) -> dict[str, Any]:
    """The body of POST /services/create."""
    found: dict[str, Any] = {
        "Name": options.name,
        "Labels": units.pairs(options.label, "label"),
        "TaskTemplate": _task(options) | {"ContainerSpec": _container(options)},
        "Mode": _mode(options),
    }
    for field, what in (("UpdateConfig", "update"), ("RollbackConfig", "rollback")):
        if config := update_settings(options, what):
            # The API takes a missing Parallelism for 0, all at once; whoever sets a delay does not ask for that.
            found[field] = {"Parallelism": 1, **config}
    if options.publish or options.endpoint_mode:
        found["EndpointSpec"] = _without_empty(
            {
                "Mode": options.endpoint_mode,
                "Ports": [port for text in options.publish for port in ports.parse(text)],
            }
        )
    return found


def _container(options: argparse.Namespace) -> dict[str, Any]:
    found = _without_empty(
        {
            "Image": options.image,
            "Labels": units.pairs(options.container_label, "label"),
            "Command": options.entrypoint.split() if options.entrypoint else None,
            "Args": options.args,
            "Hostname": options.hostname,
            "Env": environment(options.env, options.env_file),
            "Dir": options.workdir,
            "User": options.user,
            "Groups": options.group,
            "TTY": options.tty,
            "Init": options.init,
            "ReadOnly": options.read_only,
            "Mounts": [mount(text) for text in options.mount],
            "StopSignal": options.stop_signal,
            "Hosts": [joining.host(text) for text in options.hosts],
            "Sysctls": units.pairs(options.sysctl, "sysctl", value_needed=True),
            "CapabilityAdd": options.cap_add,
            "CapabilityDrop": options.cap_drop,
            "Ulimits": [_ulimit(text) for text in options.ulimit],
            "OomScoreAdj": options.oom_score_adj,
            "Secrets": [{"SecretName": name, "File": {"Name": name}} for name in options.secret],
            "Configs": [{"ConfigName": name, "File": {"Name": name}} for name in options.config],
            "DNSConfig": joining.dns(options.dns, options.dns_search, options.dns_option),
            "Healthcheck": _health(options),
        }
    )
    if options.stop_grace_period is not None:
        found["StopGracePeriod"] = units.duration(options.stop_grace_period)
    return found


def _task(options: argparse.Namespace) -> dict[str, Any]:
    """All of the template but the container."""
    return _without_empty(
        {
            "Resources": _resources(options),
            "RestartPolicy": _restart(options),
            "Placement": _without_empty(
                {
                    "Constraints": options.constraint,
                    "Preferences": [_preference(text) for text in options.placement_pref],
                    "MaxReplicas": options.replicas_max_per_node,
                }
            ),
            "Networks": [joining.attachment(text) for text in options.network],
            "LogDriver": _log_driver(options),
        }
    )


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value not in (None, "", [], {}, 0, False)}


def _mode(options: argparse.Namespace) -> dict[str, Any]:
    if options.mode == "replicated":
        return {"Replicated": {"Replicas": 1 if options.replicas is None else options.replicas}}
    if options.replicas is not None and options.mode != "replicated-job":
        raise Invalid("replicas can only be used with replicated or replicated-job mode")
    if options.mode == "replicated-job":
        return {"ReplicatedJob": {"TotalCompletions": options.replicas or 1}}
    return {"Global": {}} if options.mode == "global" else {"GlobalJob": {}}


def _resources(options: argparse.Namespace) -> dict[str, Any]:
    limits = {
        "NanoCPUs": units.cpus(options.limit_cpu),
        "MemoryBytes": units.size(options.limit_memory),
        "Pids": options.limit_pids,
    }
    reservations = {
        "NanoCPUs": units.cpus(options.reserve_cpu),
        "MemoryBytes": units.size(options.reserve_memory),
    }
    return _without_empty({"Limits": _without_empty(limits), "Reservations": _without_empty(reservations)})


def _restart(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if options.restart_condition is not None:
        found["Condition"] = options.restart_condition
    if options.restart_delay is not None:
        found["Delay"] = units.duration(options.restart_delay)
    if options.restart_max_attempts is not None:
        found["MaxAttempts"] = options.restart_max_attempts
    if options.restart_window is not None:
        found["Window"] = units.duration(options.restart_window)
    return found


def update_settings(options: argparse.Namespace, what: str) -> dict[str, Any]:
    """What the flags say that begin with `what`: update or rollback."""
    fields: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "Parallelism": ("parallelism", int),
        "Delay": ("delay", units.duration),
        "FailureAction": ("failure_action", str),
        "Monitor": ("monitor", units.duration),
        "MaxFailureRatio": ("max_failure_ratio", _ratio),
        "Order": ("order", str),
    }
    given = {field: (getattr(options, f"{what}_{flag}"), read) for field, (flag, read) in fields.items()}
    return {field: read(value) for field, (value, read) in given.items() if value is not None}


def _ratio(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise Invalid(f"invalid failure ratio {text!r}", "write it as a number from 0 to 1, like 0.25")
    return number


def _health(options: argparse.Namespace) -> dict[str, Any] | None:
    if options.no_healthcheck:
        return {"Test": ["NONE"]}
    return {"Test": ["CMD-SHELL", options.health_cmd]} if options.health_cmd else None


def _log_driver(options: argparse.Namespace) -> dict[str, Any] | None:
    if options.log_driver is None and not options.log_opt:
        return None
    return {"Name": options.log_driver or "", "Options": units.pairs(options.log_opt, "log option")}


def _preference(text: str) -> dict[str, Any]:
    kind, _, descriptor = text.partition("=")
    if kind != "spread" or not descriptor:
        raise Invalid(f"invalid placement preference {text!r}", "write it like spread=node.labels.zone")
    return {"Spread": {"SpreadDescriptor": descriptor}}


def _ulimit(text: str) -> dict[str, Any]:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    try:
        if not name:
            raise ValueError("no name")
        return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}
    except ValueError:
        raise Invalid(f"invalid ulimit {text!r}", "write it like nofile=1024:4096") from None
