"""Booleans as people write them: what Go's strconv.ParseBool reads, nothing else."""

from __future__ import annotations

from swarmcore.errors import Invalid, clipped

TRUE = ("1", "t", "T", "true", "TRUE", "True")
FALSE = ("0", "f", "F", "false", "FALSE", "False")


def boolean(text: str, what: str) -> bool:
    """Invalid names `what` has a value that is neither: it must never be taken for the other one."""
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise Invalid(f"invalid value {clipped(text)} for {what}", "write true or false")
