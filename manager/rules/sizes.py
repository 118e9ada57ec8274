"""How large a spec may be."""

from __future__ import annotations

import msgspec

from swarmcore.errors import Invalid
from swarmcore.model.base import Spec

# A service holds two specs and each of its tasks one: all of them must fit a raft entry.
MAX_SPEC = 1 << 20


def spec_size(spec: Spec, what: str, limit: int = MAX_SPEC) -> None:
    """What is stored has to fit a raft entry, and goes to every manager."""
    if len(msgspec.msgpack.encode(spec)) > limit:
        raise Invalid(f"the spec of {what} is larger than {limit >> 20} MiB", "put files into the image")
