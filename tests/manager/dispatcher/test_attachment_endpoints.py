"""Containers outside of services in the endpoint tables: their own names, no service, no virtual IP."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from manager.rules.endpoint_table import overlay_endpoints
from swarmcore.model.network import NetworkAttachment, NetworkAttachmentConfig
from swarmcore.model.node import Node, NodeState, NodeStatus
from swarmcore.model.overlay import OverlayEndpoint, endpoint_mac
from swarmcore.model.task import (
    ContainerStatus,
    NetworkAttachmentSpec,
    RuntimeType,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)

S = TaskState
NODE = Node(id="n1", status=NodeStatus(state=NodeState.READY, addr="192.0.2.1"))
TASK = Task(
    id="t1",
    name="db",
    node_id="n1",
    spec=TaskSpec(
        runtime=RuntimeType.ATTACHMENT,
        network_attachment_spec=NetworkAttachmentSpec(container_id="0123456789abcdef"),
        networks=(NetworkAttachmentConfig(target="net", aliases=("sql", "store")),),
    ),
    networks_attachments=(
        NetworkAttachment(
            network_id="net", addresses=("10.1.0.7/24", "fd01::7/64"), aliases=("sql", "store")
        ),
    ),
    status=TaskStatus(state=S.RUNNING, container_status=ContainerStatus(container_id="0123456789abcdef")),
    desired_state=S.RUNNING,
)


def test_it_has_the_containers_name_its_short_id_and_its_aliases() -> None:
    assert dict(overlay_endpoints(TASK, NODE)) == {
        "net": OverlayEndpoint(
            id="t1",
            node_id="n1",
            name="db",
            aliases=("0123456789ab", "sql", "store"),
            addresses=("10.1.0.7", "fd01::7"),
            mac=endpoint_mac("t1", "net"),
            active=True,
        )
    }


@pytest.mark.parametrize(
    "change", [{"desired_state": S.REMOVE}, {"status": TaskStatus(state=S.PREPARING)}], ids=str
)
def test_before_and_after_it_is_on_the_network_it_has_no_names(change: dict[str, object]) -> None:
    (found,) = dict(overlay_endpoints(replace(TASK, **change), NODE)).values()
    assert not found.active


def test_one_that_has_ended_is_gone() -> None:
    assert not dict(overlay_endpoints(replace(TASK, status=TaskStatus(state=S.COMPLETE)), NODE))
