"""The programs that containers need: found once, missing ones named in one line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from msgspec import Struct

from swarmcore.errors import FailedPrecondition

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUNTIMES = ("crun", "runc")


class RuntimeTool(Struct, frozen=True, kw_only=True):
    name: str
    path: str


class Tools(Struct, frozen=True, kw_only=True):
    """`runtimes` in the order in which they are tried."""

    conmon: str
    runtimes: tuple[RuntimeTool, ...]


def preflight(*, path: str | None = None, runtimes: Sequence[str] = RUNTIMES) -> Tools:
    """The tools of this host; FailedPrecondition says all that is missing, in one line."""
    searched = path if path is not None else f"{os.environ.get('PATH', '')}:{_PATH}"
    missing: list[str] = []
    packages: list[str] = []
    if os.geteuid() != 0:
        raise FailedPrecondition("running containers needs root", "start the daemon as root")
    conmon = shutil.which("conmon", path=searched)
    if conmon is None:
        missing.append("conmon")
        packages.append("conmon")
    found = tuple(
        RuntimeTool(name=name, path=where)
        for name in runtimes
        if (where := shutil.which(name, path=searched))
    )
    if not found:
        missing.append(" or ".join(runtimes) or "a runtime")
        packages.append("crun")
    if shutil.which("nft", path=searched) is None:
        missing.append("nft")
        packages.append("nftables")
    if missing:
        raise FailedPrecondition(
            f"this host cannot run containers: {' and '.join(missing)} not found",
            f"install it: apt-get install {' '.join(packages)}",
        )
    assert conmon is not None
    return Tools(conmon=conmon, runtimes=found)
