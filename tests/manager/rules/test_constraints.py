"""Placement constraints: what can be read, and what holds for which node."""

from __future__ import annotations

import pytest

from manager.rules.constraints import match, parse
from swarmcore.errors import Invalid
from swarmcore.model.node import Node, NodeDescription, NodeRole, NodeSpec, NodeStatus

NODE = Node(
    id="n1",
    role=NodeRole.WORKER,
    spec=NodeSpec(labels={"disk": "SSD"}),
    status=NodeStatus(addr="10.1.2.3"),
    description=NodeDescription(hostname="alpha"),
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("node.labels.disk==ssd", True),
        ("node.labels.disk != ssd", False),
        ("node.labels.Disk==ssd", False),
        ("node.labels.room!=cellar", True),
        ("node.hostname==ALPHA", True),
        ("node.role==manager", False),
        ("node.ip==10.1.0.0/16", True),
        ("node.ip!=10.1.2.3", False),
        ("node.ip==everywhere", False),
        ("node.colour!=red", False),
    ],
)
def test_values_compare_without_case_and_keys_with_it_and_an_unknown_key_never_holds(
    text: str, holds: bool
) -> None:
    assert match(parse([text]), NODE) is holds


@pytest.mark.parametrize("text", ["node.role", "==x", "node.role==", "node.role=manager", "a b==c"])
def test_what_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(Invalid, match="invalid constraint"):
        parse(["node.role==worker", text])
