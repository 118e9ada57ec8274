"""What a container shall be: the value that goes into the engine of this host, from which a container comes out.

The engine does not know whether the plan was made of a task or of a client's request. A field is here because something
below reads it.
"""

from __future__ import annotations

from msgspec import Struct

from swarmcore.errors import Invalid, Unsupported, clipped
from swarmcore.model.base import Nanoseconds, secretless
from swarmcore.model.container import DEFAULT_STOP_GRACE_PERIOD, HealthConfig, Mount, MountType
from worker.networks.plan import NetworkPlan
from worker.runtime.bundle import clean_target
from worker.runtime.confinement import Confinement


class PlannedFile(Struct, frozen=True, kw_only=True):
    """A small file (a secret, a config) that this container alone sees, read-only, and that no disk ever holds."""

    target: str
    content: bytes
    uid: int = 0
    gid: int = 0
    mode: int = 0

    def __repr__(self) -> str:
        return secretless(self, "content")


class ContainerPlan(Struct, frozen=True, kw_only=True):
    """Where a field says nothing, the image's setting counts, then Docker's default.

    `name` is what people call the container. `owner` is a label that means nothing here: who made the plan finds the
    container by it, also after the daemon's restart; an owner has one container at a time, "" may have many.
    `entrypoint` replaces the image's together with its arguments, ("",) takes both away. `hosts` are lines
    `IP name…` of /etc/hosts. `log_driver` "none": the output is kept nowhere.
    """

    name: str
    owner: str = ""
    image: str
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()  # NAME=value; a name alone takes the image's away
    directory: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    hostname: str = ""
    terminal: bool = False
    init: bool = False
    health: HealthConfig | None = None
    stop_signal: str = ""
    stop_grace: Nanoseconds = DEFAULT_STOP_GRACE_PERIOD
    log_driver: str = ""
    mounts: tuple[Mount, ...] = ()
    files: tuple[PlannedFile, ...] = ()
    hosts: tuple[str, ...] = ()
    networks: NetworkPlan
    confinement: Confinement = Confinement()


def check(plan: ContainerPlan) -> None:
    """Refuse what this engine would have to ignore."""
    if plan.init:
        raise Unsupported("an init process (Init) is not supported yet")
    if plan.health is not None and plan.health.test[:1] not in ((), ("NONE",)):
        raise Unsupported("a health check is not supported yet")
    for mount in plan.mounts:
        clean_target(mount.target)
        if mount.type is MountType.BIND and not mount.source.startswith("/"):
            raise Invalid(f"invalid bind source {clipped(mount.source)}: it must be an absolute path")
