"""Which ports of this host are free to be published: asked of the kernel and of our own containers."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection
from random import Random

from swarmcore.errors import FailedPrecondition
from swarmcore.model.endpoint import PortConfig, Protocol

# The range that Linux hands out by itself, as for Docker's host-mode ports.
FIRST, LAST = 32768, 60999
_ATTEMPTS = 200

Taken = Collection[tuple[Protocol, int]]


def choose_port(port: PortConfig, taken: Taken, random: Random) -> int:
    """The port itself if it is free, or any free one for port 0. FailedPrecondition if there is none."""
    if port.published_port:
        if (port.protocol, port.published_port) in taken or in_use(port.protocol, port.published_port):
            raise FailedPrecondition(
                f"port {port.published_port}/{port.protocol} is already in use on this host",
                "publish another port, or stop what uses it",
            )
        return port.published_port
    for _ in range(_ATTEMPTS):
        number = random.randint(FIRST, LAST)
        if (port.protocol, number) not in taken and not in_use(port.protocol, number):
            return number
    raise FailedPrecondition(f"no free port for {port.target_port}/{port.protocol} was found on this host")


def in_use(protocol: Protocol, number: int) -> bool:
    """Whether a program of this host listens there: translation would silently take its traffic."""
    kind = socket.SOCK_DGRAM if protocol is Protocol.UDP else socket.SOCK_STREAM
    numbers = {Protocol.TCP: socket.IPPROTO_TCP, Protocol.UDP: socket.IPPROTO_UDP}
    try:
        probe = socket.socket(socket.AF_INET, kind, numbers.get(protocol, socket.IPPROTO_SCTP))
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            raise FailedPrecondition(f"the kernel of this host has no {protocol}") from None
        raise
    with probe:
        if kind == socket.SOCK_STREAM:
            # Connections that linger after their listener has gone keep nobody from publishing the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", number))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False
