"""The addresses of the hosts in lab tests: PYSWARM_LAB=readme (or docker, routes, dual) runs them elsewhere."""

from __future__ import annotations

import os

from pyswarmd.lab.wires import DEFAULT, Wires, wires

PLACES: dict[str, Wires] = {
    "": DEFAULT,
    "readme": wires("10.0.0.0/24"),  # where the swarm's own pool begins
    "docker": wires("172.17.0.0/16"),  # docker0's
    "routes": wires("192.168.0.0/16", ["10.0.0.0/16", "10.1.16.0/20", "172.16.0.0/12", "fd99:1::/32"]),
    "dual": wires(ipv6=True),
}
HERE = PLACES[os.environ.get("PYSWARM_LAB", "")]


def at(number: int) -> str:
    """The IPv4 address of a host or client by its number."""
    return HERE.address(number)
