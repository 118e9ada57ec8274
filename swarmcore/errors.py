"""Every error that a user can see: one tree, each class knows its HTTP status and what to do next.

Swarm mode's mapping: invalid input and failed preconditions 400, not found
404, conflict 409, forbidden 403, unauthenticated 401, unimplemented 501, unavailable 503, rest 500.
An error travels between nodes as its `kind` (the class name), message and hint, and is raised again
on the other side by `from_wire`.
"""

from __future__ import annotations

from typing import ClassVar

LONGEST_MESSAGE = 1000  # characters
_CLIPPED = 80  # characters of what a user typed that a message repeats


class SwarmError(Exception):
    """Something a user asked for cannot be done; `str(error)` is one line that says what is wrong.

    `hint` (may be empty) is one line that says what to do. `exit_code` is the CLI's.
    """

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    hint: str = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(cut(message))
        if hint is not None:
            self.hint = hint


class Invalid(SwarmError):
    """The request itself is wrong."""

    status = 400


class Unsupported(Invalid):
    """A field or flag that has no behaviour yet: refused, never silently ignored."""

    hint = "remove it; this version of pyswarm does not act on it yet"


class FailedPrecondition(SwarmError):
    """The request is right but the swarm is not in a state to carry it out."""

    status = 400


class Unauthenticated(SwarmError):
    """No or wrong credentials: certificate, join token, unlock key."""

    status = 401


class Superseded(Unauthenticated):
    """The caller is a manager of the swarm as it was before it was recovered with `--force-new-cluster`."""

    hint = 'run "pyswarm leave --force" on it, then join it with a join token of the recovered swarm'


class Forbidden(SwarmError):
    """Known peer, but its role does not allow this."""

    status = 403


class NotFound(SwarmError):
    """The named object does not exist."""

    status = 404


class Conflict(SwarmError):
    """The name or resource is taken."""

    status = 409


class OutOfSequence(SwarmError):
    """The caller's version of the object is stale (Docker answers 500 here; we say conflict)."""

    status = 409
    hint = "read the object again and repeat the update with its current version"


class Unimplemented(SwarmError):
    """Docker knows it, pyswarm refuses it by design (rename, change of mode)."""

    status = 501


class Unavailable(SwarmError):
    """Not now: no leader, no quorum, node not in a swarm. Nothing is known to have changed."""

    status = 503


class NoLeader(Unavailable):
    """No manager leads right now; `leader_address` names the leader when this one only follows."""

    hint = "wait for an election, or check that a majority of the managers is reachable"


class OutcomeUnknown(Unavailable):
    """The write may or may not have happened: read again."""

    hint = "read the object again before you repeat the request"


class NotInSwarm(Unavailable):
    """This node is not part of a swarm."""

    hint = 'use "pyswarm init" or "pyswarm join --token TOKEN HOST:PORT" to connect this node to a swarm and try again'

    def __init__(self, message: str = "this node is not a swarm manager", hint: str | None = None) -> None:
        super().__init__(message, hint)


class NotManager(Unavailable):
    """This node is a worker; `hint` names a manager."""


class WrongRole(Unavailable):
    """A node of the swarm asks for what only the other role may do: its role has just changed, or changes now.

    For the user this is a matter of a moment; who asks a manager hears that it is not one any more (NotManager).
    """

    hint = "the role of a node is being changed: try again"


class Internal(SwarmError):
    """A fault of ours, told to the user as such."""


def cut(message: str) -> str:
    """A message with an end: it may repeat what somebody sent."""
    return message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 1]}…"


def clipped(text: str) -> str:
    """`text` in quotes, for a message: what came from outside may be long, a message may not."""
    return repr(text if len(text) <= _CLIPPED else f"{text[: _CLIPPED - 1]}…")


def _tree(cls: type[SwarmError]) -> dict[str, type[SwarmError]]:
    found = {cls.__name__: cls}
    for sub in cls.__subclasses__():
        found |= _tree(sub)
    return found


def from_wire(kind: str, message: str, hint: str) -> SwarmError:
    """The error that another node told us; an unknown kind (a newer peer) becomes Internal.

    A subclass with its own constructor arrives as its nearest ancestor that takes (message, hint).
    """
    cls = _tree(SwarmError).get(kind, Internal)
    for candidate in cls.__mro__:
        if issubclass(candidate, SwarmError) and candidate.__module__ == __name__:
            return candidate(message, hint)
    return Internal(message, hint)
