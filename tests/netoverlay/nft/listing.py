"""What nft(8) reads out of a namespace: a reader of the kernel's tables that is not ours."""

from __future__ import annotations

import re
import subprocess

from netoverlay.netns import Namespace


def nft(namespace: Namespace, command: str) -> str:
    """Run one command (or a script of several lines) in the namespace; AssertionError with its complaint."""
    done = subprocess.run(
        ["nsenter", f"--net={namespace.path}", "nft", "-f", "-"],
        input=command,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rules(namespace: Namespace, chain: str, table: str = "inet pyswarm") -> list[str]:
    """The rules of one chain as nft(8) prints them, without their comments."""
    lines = nft(namespace, f"list chain {table} {chain}").splitlines()
    return [
        line.strip().partition(" comment ")[0]
        for line in lines
        if line.startswith("\t\t") and not line.strip().startswith("type ")
    ]


def listed(namespace: Namespace, table: str = "inet pyswarm") -> list[str]:
    """The objects of a table, and the elements of each, in an order that does not tell its history."""
    shown = nft(namespace, f"list table {table}").partition("\n")[2].rstrip().removesuffix("}")
    shown = re.sub(r"elements = \{([^}]*)\}", lambda found: _sorted(found[1]), shown)
    return sorted(each.strip() for each in shown.split("\n\n"))


def _sorted(elements: str) -> str:
    return ", ".join(sorted(re.split(r",\s+", elements.strip())))
