"""Which settings a swarm may have, and what a change leaves as it was."""

from __future__ import annotations

import pytest

from manager.rules.swarm_spec import swarm_change
from swarmcore.errors import Invalid, SwarmError, Unsupported
from swarmcore.model.cluster import (
    DEFAULT_SWARM_SPEC,
    MAX_REPLICAS_LABEL,
    CAConfig,
    DispatcherConfig,
    EncryptionConfig,
    SwarmSpec,
)


def test_what_a_change_does_not_name_stays() -> None:
    changed = swarm_change(DEFAULT_SWARM_SPEC, SwarmSpec(labels={"a": "b"}))
    assert changed.labels == {"a": "b"}
    assert changed.dispatcher == DEFAULT_SWARM_SPEC.dispatcher


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        (SwarmSpec(name="mine"), Invalid, "cannot be renamed"),
        (SwarmSpec(labels={MAX_REPLICAS_LABEL: "many"}), Invalid, MAX_REPLICAS_LABEL),
        (SwarmSpec(ca_config=CAConfig(node_cert_expiry=1)), Invalid, "1h0m0s"),
        (SwarmSpec(dispatcher=DispatcherConfig(heartbeat_period=-1)), Invalid, "cannot be negative"),
        (SwarmSpec(dispatcher=DispatcherConfig(heartbeat_period=1)), Invalid, "at least 100ms"),
        (SwarmSpec(encryption_config=EncryptionConfig(auto_lock_managers=True)), Unsupported, "autolock"),
    ],
    ids=["name", "limit on replicas", "life of certificates", "negative", "too often", "autolock"],
)
def test_settings_that_make_no_sense_or_have_no_behaviour_are_refused(
    wanted: SwarmSpec, error: type[SwarmError], said: str
) -> None:
    with pytest.raises(error, match=said):
        swarm_change(DEFAULT_SWARM_SPEC, wanted)
