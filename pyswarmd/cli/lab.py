"""`pyswarm lab …`: several hosts on this machine, and faults to try."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import Any

from pyswarmd.cli import render
from pyswarmd.lab import processes
from pyswarmd.lab.demo import run_demo
from pyswarmd.lab.lab import DEFAULT_NAME, Lab, locked
from pyswarmd.lab.wires import DEFAULT, wires
from swarmcore.errors import Invalid


def add(commands: Any) -> None:
    parser = commands.add_parser("lab", help="a lab of several hosts on this machine")
    parser.add_argument("--name", default=DEFAULT_NAME, help="several labs may exist (%(default)s)")
    group = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, *, hosts: str = "") -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = group.add_parser(name, help=text)
        if hosts:
            made.add_argument("hosts", nargs=hosts, metavar="HOST")
        made.set_defaults(run=run, local=True)
        return made

    up = command("up", _up, "make hosts m1… and w1…, each with a daemon, joined to one swarm")
    up.add_argument("--managers", type=int, default=3)
    up.add_argument("--workers", type=int, default=2)
    up.add_argument("--subnet", default="", metavar="CIDR", help="the hosts' IPv4 subnet (10.77.0.0/24)")
    up.add_argument(
        "--route",
        action="append",
        default=[],
        metavar="CIDR",
        help="a foreign network, behind the subnet's address 201",
    )
    up.add_argument("--ipv6", action="store_true", help="the nodes meet over IPv6")
    command("ls", _ls, "list the hosts")
    kill = command("kill", _kill, "power hosts off: everything on them dies at once", hosts="+")
    kill.add_argument("--daemon", action="store_true", help="kill -9 only the daemon; containers go on")
    command("pause", _pause, "stop every process of hosts", hosts="+")
    command("resume", _resume, "undo pause", hosts="+")
    command("partition", _partition, "cut hosts off from the others", hosts="+")
    command("heal", _heal, "undo partition (for all hosts, when none is named)", hosts="*")
    command("restart", _restart, "start hosts' daemons again", hosts="+")
    command("down", _down, "remove everything that the lab made")
    command("demo", _demo, "up, deploy three replicas, show the result")
    execute = command("exec", None, "run a command on a host")
    execute.add_argument("host", metavar="HOST")
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    execute.set_defaults(start=_exec)


async def _up(options: argparse.Namespace) -> None:
    wished = wires(options.subnet, options.route, ipv6=options.ipv6)
    lab = Lab(options.name, wires=wished if wished != DEFAULT else None)
    async with locked(lab):
        await lab.up(options.managers, options.workers)
    await _ls(options)


async def _ls(options: argparse.Namespace) -> None:
    rows = [
        {
            "HOST": row.name,
            "ADDRESS": row.address,
            "DAEMON": row.daemon,
            "PROCESSES": str(row.processes),
            "SOCKET": row.socket,
        }
        for row in Lab(options.name).rows()
    ]
    render.table(rows, ("HOST", "ADDRESS", "DAEMON", "PROCESSES", "SOCKET"))


def _exec(options: argparse.Namespace) -> int:
    host = Lab(options.name).existing(options.host)
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words:
        raise Invalid("no command to run", 'write it like "pyswarm lab exec m1 -- pyswarm node ls"')
    processes.enter(f"{host.cgroup}/exec")
    argv = host.command(words)
    sys.stdout.flush()
    os.execvpe(argv[0], argv, host.environment())


async def _kill(options: argparse.Namespace) -> None:
    await Lab(options.name).kill(options.hosts, daemon_only=options.daemon)


async def _pause(options: argparse.Namespace) -> None:
    await asyncio.to_thread(Lab(options.name).pause, options.hosts)


async def _resume(options: argparse.Namespace) -> None:
    await asyncio.to_thread(Lab(options.name).resume, options.hosts)


async def _partition(options: argparse.Namespace) -> None:
    await Lab(options.name).partition(options.hosts)


async def _heal(options: argparse.Namespace) -> None:
    await Lab(options.name).heal(options.hosts)


async def _restart(options: argparse.Namespace) -> None:
    await Lab(options.name).restart(options.hosts)


async def _down(options: argparse.Namespace) -> None:
    lab = Lab(options.name)
    async with locked(lab):
        await lab.down()


async def _demo(options: argparse.Namespace) -> None:
    lab = Lab(options.name)
    async with locked(lab):
        await run_demo(lab)
