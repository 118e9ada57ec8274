"""`pyswarm daemon`: run this host's daemon in the foreground."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from pyswarmd.cli import units
from pyswarmd.config import RUN_DIR, STATE_DIR, Settings
from swarmcore import log


def add(commands: Any) -> None:
    daemon = commands.add_parser("daemon", help="run the daemon of this host in the foreground")
    daemon.add_argument(
        "--state-dir", type=Path, default=STATE_DIR, help="what survives a boot (%(default)s)"
    )
    daemon.add_argument(
        "--run-dir", type=Path, default=RUN_DIR, help="socket and what a boot clears (%(default)s)"
    )
    daemon.add_argument("--cgroup-parent", default="pyswarm", help="cgroup that holds the containers")
    daemon.add_argument("--hostname", default="", help="instead of this machine's name")
    daemon.add_argument("--label", action="append", default=[], help="engine label KEY=VALUE")
    daemon.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")
    daemon.add_argument("--log-json", action="store_true", help="one JSON object a line")
    daemon.set_defaults(start=_start)


def _start(options: argparse.Namespace) -> int:
    from pyswarmd.daemon import run_daemon  # imports every component; the other commands start faster without

    log.set_up(options.log_level, as_json=options.log_json)
    settings = Settings(
        state_dir=options.state_dir.absolute(),
        run_dir=options.run_dir.absolute(),
        cgroup_parent=options.cgroup_parent,
        hostname=options.hostname,
        labels=units.pairs(options.label, "label"),
    )
    try:
        import uvloop
    except ImportError:
        asyncio.run(run_daemon(settings))
    else:
        uvloop.run(run_daemon(settings))
    return 0
