"""`pyswarm update`: the settings of the swarm as a whole."""

from __future__ import annotations

import argparse
from typing import Any

from pyswarmd.cli import units
from pyswarmd.cli.render import out
from pyswarmd.client import EngineClient
from swarmcore.errors import Invalid
from swarmcore.model.cluster import MAX_REPLICAS_LABEL

Commands = Any  # argparse keeps its sub-parser type private


def add(commands: Commands) -> None:
    update = commands.add_parser("update", help="change the swarm's settings")
    update.add_argument("--cert-expiry", help="life of node certificates")
    update.add_argument("--dispatcher-heartbeat", help="agents' heartbeat")
    update.add_argument("--task-history-limit", type=units.integer)
    update.add_argument("--snapshot-interval", type=units.integer, help="raft entries between snapshots")
    update.add_argument("--max-replicas", type=units.integer, help="how many replicas one service may have")
    update.set_defaults(run=_update)


async def _update(client: EngineClient, options: argparse.Namespace) -> None:
    swarm = await client.get("/swarm")
    spec = changed(swarm["Spec"], options)
    if spec == swarm["Spec"]:
        raise Invalid("nothing to change", "name at least one setting")
    await client.json("POST", "/swarm/update", body=spec, query={"version": swarm["Version"]["Index"]})
    out("Swarm updated.")


def changed(spec: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """`spec` with what the options say."""
    wanted = {
        ("Orchestration", "TaskHistoryRetentionLimit"): options.task_history_limit,
        ("Raft", "SnapshotInterval"): options.snapshot_interval,
        ("Dispatcher", "HeartbeatPeriod"): _duration(options.dispatcher_heartbeat),
        ("CAConfig", "NodeCertExpiry"): _duration(options.cert_expiry),
        ("Labels", MAX_REPLICAS_LABEL): None if options.max_replicas is None else str(options.max_replicas),
    }
    found = dict(spec)
    for (part, name), value in wanted.items():
        if value is not None:
            found[part] = {**(found.get(part) or {}), name: value}
    return found


def _duration(text: str | None) -> int | None:
    return None if text is None else units.duration(text)
