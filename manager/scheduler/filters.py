"""What a node must have to get a task: checks in Docker's order, each of which explains its refusals in its words.

`checks_for` gives only those that a task's spec calls for. A node counts for the first check that refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from manager.rules.constraints import Constraint, match, parse
from manager.scheduler.nodeset import HostPort, NodeInfo, host_ports, takes_tasks
from manager.scheduler.resources import reserved
from swarmcore.errors import Invalid
from swarmcore.model.base import Platform
from swarmcore.model.policy import Placement
from swarmcore.model.resources import Resources
from swarmcore.model.task import Task

NO_NODE = "no suitable node"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Check(Protocol):
    """One reason why a node may not take a task."""

    def accepts(self, node: NodeInfo) -> bool: ...

    def refusal(self, nodes: int) -> str:
        """Why so many nodes are out."""
        ...


Checks = tuple[Check, ...]


def checks_for(task: Task) -> Checks:
    placement = task.spec.placement or Placement()
    checks: list[Check] = [Ready()]
    wanted = reserved(task.spec)
    if wanted.nano_cpus or wanted.memory_bytes or wanted.generic_resources:
        checks.append(Resourceful(wanted))
    if plugins := _plugins(task):
        checks.append(HasPlugins(plugins))
    if placement.constraints:
        checks.append(Constrained(placement.constraints))
    if placement.platforms:
        checks.append(OnPlatform(placement.platforms))
    if ports := frozenset(host_ports(task)):
        checks.append(PortsFree(ports))
    if placement.max_replicas:
        checks.append(BelowMaxReplicas(task.service_id, placement.max_replicas))
    return tuple(checks)


def fits(checks: Checks, node: NodeInfo) -> bool:
    return all(check.accepts(node) for check in checks)


def explain(checks: Checks, nodes: Iterable[NodeInfo]) -> str:
    """Why none of `nodes` is suitable, the most frequent reason first; empty if there is no node at all."""
    refused = [0] * len(checks)
    for node in nodes:
        for position, check in enumerate(checks):
            if not check.accepts(node):
                refused[position] += 1
                break
    reasons = sorted(zip(refused, checks, strict=True), key=lambda reason: -reason[0])
    return "; ".join(check.refusal(count) for count, check in reasons if count)


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


class Ready:
    def accepts(self, node: NodeInfo) -> bool:
        return takes_tasks(node.node)

    def refusal(self, nodes: int) -> str:
        return f"{_nodes(nodes)} not available for new tasks"


class Resourceful:
    """What the task reserves is free."""

    def __init__(self, wanted: Resources) -> None:
        self._wanted = wanted

    def accepts(self, node: NodeInfo) -> bool:
        return node.free.fits(self._wanted)

    def refusal(self, nodes: int) -> str:
        return f"insufficient resources on {_nodes(nodes)}"


class HasPlugins:
    """The volume and log drivers that the task names. A node that tells of no log driver at all may have any."""

    def __init__(self, wanted: Sequence[tuple[str, str]]) -> None:
        self._wanted = wanted

    def accepts(self, node: NodeInfo) -> bool:
        description = node.node.description
        plugins = description.engine.plugins if description is not None else ()
        there = {(plugin.type, plugin.name) for plugin in plugins}
        kinds = {plugin.type for plugin in plugins}
        return all(wanted in there or (wanted[0] == "Log" and "Log" not in kinds) for wanted in self._wanted)

    def refusal(self, nodes: int) -> str:
        return f"missing plugin on {_nodes(nodes)}"


def _plugins(task: Task) -> list[tuple[str, str]]:
    """(type, name) as nodes describe them."""
    found: list[tuple[str, str]] = []
    for mount in task.spec.container.mounts:
        driver = mount.volume_options.driver_config if mount.volume_options is not None else None
        if driver is not None and driver.name not in ("", "local"):
            found.append(("Volume", driver.name))
    log_driver = task.log_driver or task.spec.log_driver
    if log_driver is not None and log_driver.name not in ("", "none"):
        found.append(("Log", log_driver.name))
    return found


class Constrained:
    def __init__(self, texts: Sequence[str]) -> None:
        self._constraints: tuple[Constraint, ...] | None
        try:
            self._constraints = parse(texts)
        except Invalid:
            # The control API lets none through. Should one be stored all the same, it holds nowhere: the user
            # sees why the task waits, and the other services are scheduled.
            self._constraints = None

    def accepts(self, node: NodeInfo) -> bool:
        return self._constraints is not None and match(self._constraints, node.node)

    def refusal(self, nodes: int) -> str:
        return f"scheduling constraints not satisfied on {_nodes(nodes)}"


class OnPlatform:
    """One of the image's platforms is the node's; an empty part of a platform means any."""

    def __init__(self, platforms: Sequence[Platform]) -> None:
        self._platforms = [(platform.os.lower(), _architecture(platform)) for platform in platforms]

    def accepts(self, node: NodeInfo) -> bool:
        if node.node.description is None:
            return False
        own = node.node.description.platform
        system, architecture = own.os.lower(), _architecture(own)
        return any(o in ("", system) and a in ("", architecture) for o, a in self._platforms)

    def refusal(self, nodes: int) -> str:
        return f"unsupported platform on {_nodes(nodes)}"


def _architecture(platform: Platform) -> str:
    """The kernel's and Go's names of the same thing."""
    name = platform.architecture.lower()
    return _ARCHITECTURES.get(name, name)


class PortsFree:
    """No other task publishes the same port of the host."""

    def __init__(self, ports: frozenset[HostPort]) -> None:
        self._ports = ports

    def accepts(self, node: NodeInfo) -> bool:
        return not any(node.ports.get(port, 0) > 0 for port in self._ports)

    def refusal(self, nodes: int) -> str:
        return f"host-mode port already in use on {_nodes(nodes)}"


class BelowMaxReplicas:
    def __init__(self, service_id: str, limit: int) -> None:
        self._service_id, self._limit = service_id, limit

    def accepts(self, node: NodeInfo) -> bool:
        return node.active_of(self._service_id) < self._limit

    def refusal(self, nodes: int) -> str:
        return "max replicas per node limit exceed"  # Docker's words, which tools compare
