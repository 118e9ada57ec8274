"""What a plan may not ask for."""

from __future__ import annotations

from typing import Any

import pytest

from swarmcore.errors import SwarmError
from swarmcore.model.container import HealthConfig, Mount, MountType
from worker.containers.plan import ContainerPlan, check
from worker.networks.plan import NetworkPlan


def plan(**fields: Any) -> ContainerPlan:
    return ContainerPlan(name="web", image="app:1", networks=NetworkPlan(name="web"), **fields)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("init", True, "an init process .* is not supported yet"),
        ("health", HealthConfig(test=("CMD", "true")), "a health check is not supported yet"),
        ("mounts", (Mount(type=MountType.TMPFS, target="a"),), "invalid mount target"),
        ("mounts", (Mount(type=MountType.BIND, source="a", target="/a"),), "invalid bind source a"),
    ],
)
def test_what_the_engine_would_have_to_ignore_is_refused(field: str, value: Any, says: str) -> None:
    with pytest.raises(SwarmError, match=says.replace(" a", " '?a")):
        check(plan(**{field: value}))


def test_a_health_check_that_is_none_and_mounts_that_can_be_are_taken() -> None:
    mounts = (Mount(type=MountType.BIND, source="/a", target="/a"), Mount(target="/data"))
    check(plan(health=HealthConfig(test=("NONE",)), mounts=mounts))
    check(plan(health=HealthConfig()))
