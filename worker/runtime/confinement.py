"""What a container may do and use, as a value: capabilities, system calls, kernel settings, limits."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from swarmcore.model.container import SeccompMode, Ulimit
from swarmcore.model.resources import Limit


class Confinement(Struct, frozen=True, kw_only=True):
    """Docker's defaults where nothing is said. `read_only` is of the root file system."""

    read_only: bool = False
    capability_add: tuple[str, ...] = ()
    capability_drop: tuple[str, ...] = ()
    seccomp: SeccompMode = SeccompMode.DEFAULT
    no_new_privileges: bool = False
    sysctls: Mapping[str, str] = {}
    ulimits: tuple[Ulimit, ...] = ()
    oom_score_adj: int = 0
    limits: Limit = Limit()
