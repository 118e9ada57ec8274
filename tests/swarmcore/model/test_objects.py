"""Objects keep their shape in storage, names are Docker's, and secrets stay out of logs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from swarmcore.model import cluster, network, node, secret, service, task
from swarmcore.model.base import Annotations, Object, Version
from swarmcore.model.cluster import DEFAULT_SWARM_SPEC, SwarmSpec, merged
from swarmcore.model.container import PullOptions
from swarmcore.model.naming import task_name
from swarmcore.model.task import Task, TaskState

OBJECTS: tuple[type[Object], ...] = (
    cluster.Cluster,
    network.Network,
    node.Node,
    secret.Secret,
    secret.Config,
    service.Service,
    task.Task,
)


@pytest.mark.parametrize("type", OBJECTS, ids=lambda t: t.__name__)
def test_objects_survive_both_formats(type: type[Object]) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    made = type(id="x", version=Version(index=7), created_at=moment, updated_at=moment)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=type) == made
    assert msgspec.json.decode(msgspec.json.encode(made), type=type) == made


@settings(max_examples=25, deadline=None)
@given(st.data())
@pytest.mark.parametrize(
    "type",
    [service.UpdateStatus, task.ContainerStatus, node.Certificate, cluster.JoinTokens, network.IPAMConfig],
    ids=lambda t: t.__name__,
)
def test_any_values_survive_both_formats(type: type[Struct], data: st.DataObject) -> None:
    made = data.draw(
        st.builds(
            type,
            **{
                field.name: {
                    "str": st.text(st.characters(exclude_categories=["Cs"])),
                    "int": st.integers(-(2**63), 2**63 - 1),
                    "bytes": st.binary(),
                }[str(field.type.__name__)]
                for field in msgspec.structs.fields(type)
                if getattr(field.type, "__name__", "") in ("str", "int", "bytes")
            },
        )
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=type) == made
    assert msgspec.json.decode(msgspec.json.encode(made), type=type) == made


def test_a_newer_node_s_fields_are_passed_over_on_the_wire() -> None:
    raw = msgspec.msgpack.encode({"ID": "x", "Invented": {"later": 1}})
    assert msgspec.msgpack.decode(raw, type=Task) == Task(id="x")


def test_a_service_looks_as_dockerd_s() -> None:
    made = service.Service(id="s", version=Version(index=3), spec=service.ServiceSpec(name="web"))
    assert json.loads(msgspec.json.encode(made)) == {
        "ID": "s",
        "Version": {"Index": 3},
        "Spec": {"Name": "web", "Labels": {}, "TaskTemplate": {"ForceUpdate": 0}, "Mode": {}},
        "SpecVersion": {"Index": 0},
    }


def test_states_only_end_after_running() -> None:
    assert [state for state in TaskState if state.is_final] == [
        TaskState.COMPLETE,
        TaskState.SHUTDOWN,
        TaskState.FAILED,
        TaskState.REJECTED,
        TaskState.REMOVE,
        TaskState.ORPHANED,
    ]
    assert TaskState.RUNNING.text == "running" and TaskState.RUNNING == 512  # type: ignore[comparison-overlap]


def test_a_task_is_named_after_its_slot_or_else_its_node() -> None:
    web = Annotations(name="web")
    assert task_name(Task(id="t", slot=3, service_annotations=web)) == "web.3.t"
    assert task_name(Task(id="t", node_id="n", service_annotations=web)) == "web.n.t"
    assert task_name(Task(id="t", name="own")) == "own"


def test_secrets_do_not_show_in_a_repr() -> None:
    shown = [
        secret.SecretSpec(name="s", data=b"hush"),
        secret.ConfigSpec(name="c", data=b"hush"),
        cluster.RootCA(ca_key=b"hush", join_tokens=cluster.JoinTokens(worker="hush", manager="hush")),
        cluster.CAConfig(signing_ca_key="hush"),
        cluster.EncryptionKey(key=b"hush"),
        PullOptions(registry_auth="hush"),
        secret.Secret(id="x", spec=secret.SecretSpec(data=b"hush")),
    ]
    assert "hush" not in repr(shown)


def test_what_a_swarm_spec_does_not_say_stays_as_it_is() -> None:
    assert merged(DEFAULT_SWARM_SPEC, SwarmSpec()) == DEFAULT_SWARM_SPEC
    wanted = SwarmSpec(
        orchestration=cluster.Orchestration(task_history_retention_limit=0),
        dispatcher=cluster.DispatcherConfig(heartbeat_period=1),
        raft=cluster.RaftConfig(keep_old_snapshots=2),
        encryption_config=cluster.EncryptionConfig(auto_lock_managers=True),
    )
    got = merged(DEFAULT_SWARM_SPEC, wanted)
    assert got.orchestration.task_history_retention_limit == 0
    assert got.dispatcher.heartbeat_period == 1
    assert (got.raft.keep_old_snapshots, got.raft.snapshot_interval) == (2, 10_000)
    assert got.ca_config == DEFAULT_SWARM_SPEC.ca_config and got.encryption_config.auto_lock_managers
