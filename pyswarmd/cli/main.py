"""The `pyswarm` command: parses, calls one function per command, turns errors into one line.

Exit codes: 0 done, 1 the swarm said no, 2 usage.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from pyswarmd.cli import daemon, doctor, image, lab, network, node, service, swarm, swarm_update
from pyswarmd.client import EngineClient
from pyswarmd.config import RUN_DIR, SOCKET_NAME, VERSION
from swarmcore.errors import SwarmError
from swarmcore.text import booleans


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the words of a command; its subcommands' parsers are of this class too."""

    def __init__(self, *words: Any, **settings: Any) -> None:
        # Beginnings of flags are refused, as docker does: the next release may have a second flag with them.
        super().__init__(*words, **{"allow_abbrev": False, **settings})

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """A switch takes a boolean behind `=`, as with docker: `--detach=false`, `-d=1`."""
        action: argparse.Action = super().add_argument(*names, **settings)
        if settings.get("action") == "store_true":
            for words, value in ((booleans.TRUE, True), (booleans.FALSE, False)):
                spelled = [f"{name}={word}" for name in names for word in words]
                super().add_argument(
                    *spelled,
                    action="store_const",
                    const=value,
                    dest=action.dest,
                    default=argparse.SUPPRESS,
                    help=argparse.SUPPRESS,
                )
        return action

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see: {self.prog} --help)\n")


def build() -> argparse.ArgumentParser:
    parser = Parser(
        prog="pyswarm", description="Multi-host container orchestration that one person can understand."
    )
    parser.add_argument("--version", action="version", version=f"pyswarm {VERSION}")
    parser.add_argument(
        "-H",
        "--host",
        default=os.environ.get("PYSWARM_HOST") or f"unix://{RUN_DIR / SOCKET_NAME}",
        help="the daemon to talk to (default: $PYSWARM_HOST or %(default)s)",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (daemon, swarm, swarm_update, node, service, network, image, doctor, lab):
        module.add(commands)
    return parser


async def _call(options: argparse.Namespace) -> int:
    if getattr(options, "local", False):
        return int(await options.run(options) or 0)
    async with EngineClient(options.host) as client:
        return int(await options.run(client, options) or 0)


def main(argv: Sequence[str] | None = None) -> int:
    options = build().parse_args(argv)
    try:
        code = options.start(options) if hasattr(options, "start") else asyncio.run(_call(options))
    except SwarmError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"pyswarm: {error}{hint}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # the reader (head, less) went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


if __name__ == "__main__":
    main()
