"""What a living sandbox remembers of endpoints that have gone."""

from __future__ import annotations

import pytest

from netoverlay.containers.living import LivingSandbox
from netoverlay.containers.sandboxes import SandboxSpec
from netoverlay.netns import Namespaces
from tests.netoverlay.hosts import unique


@pytest.mark.root
def test_flows_are_remembered_once_names_work_and_until_they_are_forgotten(namespaces: Namespaces) -> None:
    spec = SandboxSpec(id="c" * 25, task_id="t1")
    sandbox = LivingSandbox(spec, namespaces.create(unique("l")))
    sandbox.note_gone(["10.0.0.2"])
    assert not sandbox.has_flows_to_forget  # nothing was balanced yet
    sandbox.serve(dns_port=40_053)
    sandbox.note_gone(["10.0.0.2", "10.0.0.3"])
    assert sandbox.remembers(["10.0.0.3", "10.0.0.9"])
    assert not sandbox.remembers(["10.0.0.9"])
    sandbox.forget_flows()
    assert not sandbox.has_flows_to_forget
