"""Which nodes can take a task, in a fixed order of questions; each says how many nodes it refused and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from manager import constraints
from manager.scheduler.nodeset import NodeInfo
from manager.scheduler.resources import reserved_by
from swarmcore.errors import Invalid
from swarmcore.model.base import Platform
from swarmcore.model.node import Availability, NodeState
from swarmcore.model.policy import Placement
from swarmcore.model.task import Task

_NO_PLACEMENT = Placement()
_SAME_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}
Question = Callable[[NodeInfo], bool]
Explain = Callable[[int], str]


class Filters:
    """The questions that a task's spec asks; tasks of one spec share them."""

    def __init__(self, task: Task) -> None:
        placement = task.spec.placement or _NO_PLACEMENT
        asked: list[tuple[Question, Explain]] = [(is_ready, _not_available)]
        needs = reserved_by(task)
        if needs.cpus or needs.memory or needs.generic:
            asked.append((lambda info: info.free.has(needs), _insufficient))
        if placement.constraints:
            try:
                parsed = constraints.parse(placement.constraints)
            except Invalid as error:
                why = str(error)
                asked.append((lambda info: False, lambda count: why))
            else:
                asked.append((lambda info: constraints.match(parsed, info.node), _unsatisfied))
        if placement.platforms:
            asked.append((lambda info: _runs_on(info, placement.platforms), _unsupported))
        if placement.max_replicas:
            limit, service = placement.max_replicas, task.service_id
            asked.append((lambda info: info.of_service[service] < limit, _full))
        self._asked: Sequence[tuple[Question, Explain]] = asked

    def accept(self, info: NodeInfo) -> bool:
        return all(question(info) for question, _ in self._asked)

    def refusal(self, infos: Iterable[NodeInfo]) -> str:
        """Why none of these nodes will do, as Docker says it: the most frequent reason first."""
        counts: Counter[int] = Counter()
        for info in infos:
            for place, (question, _) in enumerate(self._asked):
                if not question(info):
                    counts[place] += 1
                    break
        reasons = [self._asked[place][1](count) for place, count in counts.most_common()]
        return f"no suitable node ({'; '.join(reasons)})" if reasons else "no suitable node"


def is_ready(info: NodeInfo) -> bool:
    node = info.node
    return node.status.state is NodeState.READY and node.spec.availability is Availability.ACTIVE


def _runs_on(info: NodeInfo, platforms: Iterable[Platform]) -> bool:
    description = info.node.description
    if description is None:
        return False
    has = description.platform
    return any(
        wanted.os in ("", has.os)
        and (not wanted.architecture or _plain(wanted.architecture) == _plain(has.architecture))
        for wanted in platforms
    )


def _plain(architecture: str) -> str:
    return _SAME_ARCHITECTURE.get(architecture.lower(), architecture.lower())


def _nodes(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"


def _not_available(count: int) -> str:
    return f"{_nodes(count)} not available for new tasks"


def _insufficient(count: int) -> str:
    return f"insufficient resources on {_nodes(count)}"


def _unsatisfied(count: int) -> str:
    return f"scheduling constraints not satisfied on {_nodes(count)}"


def _unsupported(count: int) -> str:
    return f"unsupported platform on {_nodes(count)}"


def _full(count: int) -> str:
    return f"max replicas per node limit exceed on {_nodes(count)}"
