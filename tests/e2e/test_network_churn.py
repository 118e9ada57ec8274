"""Services come and go: nothing of them stays, and nobody's request fails meanwhile."""

from __future__ import annotations

import pytest

from tests.e2e import churn, rolling
from tests.e2e.swarm import Swarm

pytestmark = [pytest.mark.lab, pytest.mark.root]
# `python -m tests.e2e.churn` and `python -m tests.e2e.rolling` do the same with 200 services and 10,000 requests.
SERVICES, WAVE = 40, 10


async def test_forty_services_on_three_networks_come_and_go_and_leave_nothing(swarm: Swarm) -> None:
    await churn.prepare(swarm)
    await churn.churn(swarm, WAVE, WAVE)  # whatever is made once, at the first use
    before = await churn.quiet(swarm)
    await churn.churn(swarm, SERVICES, WAVE)
    assert await churn.until_as(swarm, before) == {}


async def test_no_request_fails_during_scaling_restarts_and_a_daemons_death(swarm: Swarm) -> None:
    await rolling.serve(swarm)
    seen = await rolling.under_traffic(swarm, lambda: rolling.round_trip(swarm))
    for kind, outcome in seen.items():
        assert outcome.errors == {}, kind
        assert outcome.total > 100, kind
