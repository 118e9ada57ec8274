"""What runs in a container: the plan's words and, where it says nothing, those of its image. Pure."""

from __future__ import annotations

import posixpath

from swarmcore.errors import Invalid
from swarmcore.model.linux import signal_number
from worker.containers.plan import ContainerPlan
from worker.images.oci import RunConfig
from worker.runtime.bundle import Process
from worker.runtime.users import User

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def process(plan: ContainerPlan, image: RunConfig, hostname: str, user: User) -> Process:
    """The container's first process, as `user`, which was looked up in the image."""
    return Process(
        arguments=tuple(command(plan, image)),
        environment=tuple(environment(plan, image, hostname, user.home)),
        directory=posixpath.normpath(posixpath.join("/", plan.directory or image.working_dir or "/")),
        user=user,
        terminal=plan.terminal,
    )


def command(plan: ContainerPlan, image: RunConfig) -> list[str]:
    """An entrypoint in the plan replaces the image's and with it the image's arguments."""
    entrypoint = plan.entrypoint or image.entrypoint or ()
    arguments = plan.arguments or (() if plan.entrypoint else image.cmd or ())
    # One empty word takes the image's entrypoint away, as in Docker.
    words = list(arguments) if plan.entrypoint == ("",) else [*entrypoint, *arguments]
    if not words or not words[0]:
        raise Invalid(f"no command specified: image {plan.image} has none and none is given")
    return words


def environment(plan: ContainerPlan, image: RunConfig, hostname: str, home: str) -> list[str]:
    """Later entries replace earlier ones of the same name; a name without `=` takes it away."""
    found: dict[str, str | None] = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if plan.terminal:
        found["TERM"] = "xterm"
    for entry in (*(image.env or ()), *plan.environment):
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            raise Invalid(f"invalid environment variable {entry!r}")
        found[name] = value if equals else None
    found.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in found.items() if value is not None]


def stop_signal(plan: ContainerPlan, image: RunConfig) -> int:
    """The number of the signal that asks the container to stop."""
    return signal_number(plan.stop_signal or image.stop_signal or "SIGTERM")
