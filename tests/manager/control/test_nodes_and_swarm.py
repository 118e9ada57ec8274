"""Nodes, the swarm's settings and tokens, secrets and configs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from manager.membership.bootstrap import new_swarm
from manager.raft.proposer import Member, RaftStatus
from pki.tokens import parse_join_token
from swarmcore.errors import Conflict, FailedPrecondition, Invalid, NotFound, OutOfSequence, Unsupported
from swarmcore.ids import new_id
from swarmcore.model.base import Driver
from swarmcore.model.cluster import (
    CAConfig,
    Cluster,
    DispatcherConfig,
    EncryptionConfig,
    RaftConfig,
    SwarmSpec,
    TaskDefaults,
)
from swarmcore.model.container import ConfigReference, ContainerSpec, SecretReference
from swarmcore.model.node import Availability, Node, NodeRole, NodeSpec, NodeState
from swarmcore.model.secret import ConfigSpec, SecretSpec
from swarmcore.model.service import Service, ServiceSpec
from swarmcore.model.task import TaskSpec
from swarmcore.rpc.messages.control import (
    CreateConfig,
    CreateSecret,
    RemoveConfig,
    RemoveNode,
    RemoveSecret,
    RemoveService,
    UpdateConfig,
    UpdateNode,
    UpdateSecret,
    UpdateSwarm,
)
from tests.manager.control.bench import Bench


@pytest.fixture
async def bench() -> Bench:
    return await Bench().begin()


def cluster(bench: Bench) -> Cluster:
    (found,) = bench.store.view().clusters
    return found


async def change(bench: Bench, node: Node, **fields: Any) -> Node:
    request = UpdateNode(id=node.id, version=node.version.index, spec=replace(node.spec, **fields))
    await bench.control.carry_out(request)
    found = bench.store.view().nodes.get(node.id)
    assert found is not None
    return found


# -- nodes -----------------------------------------------------------------------------------------


async def test_a_node_is_drained_and_labelled(bench: Bench) -> None:
    node = await bench.node("n1")
    drained = await change(bench, node, availability=Availability.DRAIN, labels={"zone": "a"})
    assert drained.spec.availability is Availability.DRAIN
    with pytest.raises(OutOfSequence):
        await change(bench, node, availability=Availability.ACTIVE)


async def test_the_last_manager_stays_a_manager(bench: Bench) -> None:
    (manager,) = bench.store.view().nodes
    with pytest.raises(FailedPrecondition, match="last manager"):
        await change(bench, manager, role=NodeRole.WORKER)


async def test_nobody_is_demoted_whose_loss_costs_the_quorum(bench: Bench) -> None:
    nodes = [await bench.node(name, NodeRole.MANAGER) for name in ("manager1", "manager2", "manager3")]
    for node in nodes:
        bench.raft.member_table[node.id] = Member(node_id=node.id, address=f"{node.id}:2377")
    status = bench.raft.status()
    lost = RaftStatus(**{f: getattr(status, f) for f in status.__struct_fields__} | {
        "reachable": {"manager1": True, "manager2": True, "manager3": False}
    })  # fmt: skip
    bench.raft.status = lambda: lost  # type: ignore[method-assign]
    with pytest.raises(FailedPrecondition, match="no reachable majority"):
        await change(bench, nodes[1], role=NodeRole.WORKER)
    assert (await change(bench, nodes[2], role=NodeRole.WORKER)).spec.role is NodeRole.WORKER


async def test_a_node_is_promoted_paused_and_demoted(bench: Bench) -> None:
    """The role that it shall have; the role manager makes it so."""
    node = await change(bench, await bench.node("n1"), role=NodeRole.MANAGER, availability=Availability.PAUSE)
    assert (node.spec.role, node.spec.availability) == (NodeRole.MANAGER, Availability.PAUSE)
    assert node.role is NodeRole.WORKER
    assert (await change(bench, node, role=NodeRole.WORKER)).spec.role is NodeRole.WORKER


async def test_of_two_managers_demoted_together_one_stays(bench: Bench) -> None:
    (first,) = bench.store.view().nodes
    second = await bench.node("m2", NodeRole.MANAGER)
    demotions = (change(bench, node, role=NodeRole.WORKER) for node in (first, second))
    answers = await asyncio.gather(*demotions, return_exceptions=True)
    assert sum(isinstance(answer, FailedPrecondition) for answer in answers) == 1
    assert [node.spec.role for node in bench.store.view().nodes].count(NodeRole.MANAGER) == 1


async def test_a_node_spec_sent_back_is_a_new_version_of_the_same(bench: Bench) -> None:
    node = await bench.node("n1")
    again = await change(bench, node)
    assert again.version.index > node.version.index and again.spec == node.spec


async def test_an_unknown_node_is_said(bench: Bench) -> None:
    with pytest.raises(NotFound, match="node n9 not found"):
        await bench.control.carry_out(UpdateNode(id="n9", version=1, spec=NodeSpec()))


async def test_the_list_of_removed_nodes_forgets_those_whose_certificates_have_expired(bench: Bench) -> None:
    async with bench.store.update() as tx:
        (held,) = tx.clusters
        over = bench.clock.now() - timedelta(days=1)
        ahead = bench.clock.now() + timedelta(days=1)
        tx.clusters.put(replace(held, blacklisted_certificates={"old": over, "recent": ahead}))
    await bench.node("n1", state=NodeState.DOWN)
    await bench.control.carry_out(RemoveNode(id="n1"))
    refused = cluster(bench).blacklisted_certificates
    assert set(refused) == {"recent", "n1"}
    assert refused["n1"] > bench.clock.now() + timedelta(days=90)


async def test_only_a_node_that_is_down_is_removed_without_force(bench: Bench) -> None:
    await bench.node("n1")
    with pytest.raises(FailedPrecondition, match="is not down"):
        await bench.control.carry_out(RemoveNode(id="n1"))
    await bench.control.carry_out(RemoveNode(id="n1", force=True))
    await bench.node("n2", state=NodeState.DOWN)
    await bench.control.carry_out(RemoveNode(id="n2"))
    assert {node.id for node in bench.store.view().nodes} & {"n1", "n2"} == set()
    assert {"n1", "n2"} <= set(cluster(bench).blacklisted_certificates)


async def test_a_raft_member_is_never_removed(bench: Bench) -> None:
    await bench.node("manager1", NodeRole.MANAGER, NodeState.DOWN)
    with pytest.raises(FailedPrecondition, match="member of the raft cluster"):
        await bench.control.carry_out(RemoveNode(id="manager1", force=True))


async def test_two_nodes_of_one_host_name_are_told_apart_by_id(bench: Bench) -> None:
    await bench.node("n1", state=NodeState.DOWN, hostname="host")
    await bench.node("n2", hostname="host")
    with pytest.raises(Invalid, match="ambiguous"):
        await bench.control.carry_out(RemoveNode(id="host"))
    await bench.control.carry_out(RemoveNode(id="n1"))
    with pytest.raises(NotFound):
        await bench.control.carry_out(RemoveNode(id="n1"))


# -- the swarm -------------------------------------------------------------------------------------


async def test_tokens_are_rotated_one_at_a_time(bench: Bench) -> None:
    before = cluster(bench)
    spec = before.spec
    version = before.version.index
    await bench.control.carry_out(UpdateSwarm(version=version, spec=spec, rotate_worker_token=True))
    after = cluster(bench)
    old, new = before.root_ca.join_tokens, after.root_ca.join_tokens
    assert new.worker != old.worker and new.manager == old.manager
    assert parse_join_token(new.worker).digest == parse_join_token(old.worker).digest
    with pytest.raises(OutOfSequence):
        await bench.control.carry_out(UpdateSwarm(version=version, spec=spec))


async def test_settings_that_are_left_out_stay(bench: Bench) -> None:
    wanted = SwarmSpec(
        dispatcher=DispatcherConfig(heartbeat_period=2 * 10**9), raft=RaftConfig(snapshot_interval=500)
    )
    await bench.control.carry_out(UpdateSwarm(version=cluster(bench).version.index, spec=wanted))
    spec = cluster(bench).spec
    assert spec.dispatcher.heartbeat_period == 2 * 10**9
    assert spec.raft.snapshot_interval == 500
    assert spec.orchestration.task_history_retention_limit == 5


@pytest.mark.parametrize(
    "spec",
    [
        SwarmSpec(dispatcher=DispatcherConfig(heartbeat_period=1)),
        SwarmSpec(encryption_config=EncryptionConfig(auto_lock_managers=True)),
        SwarmSpec(raft=RaftConfig(keep_old_snapshots=3)),
        SwarmSpec(raft=RaftConfig(election_tick=50)),
        SwarmSpec(name="other"),
        SwarmSpec(ca_config=CAConfig(node_cert_expiry=60 * 10**9)),
        SwarmSpec(ca_config=CAConfig(force_rotate=1)),
        SwarmSpec(ca_config=CAConfig(signing_ca_cert="pem")),
        SwarmSpec(task_defaults=TaskDefaults(log_driver=Driver(name="fluentd"))),
        SwarmSpec(
            task_defaults=TaskDefaults(log_driver=Driver(name="json-file", options={"max-size": "1m"}))
        ),
    ],
)
async def test_settings_without_sense_or_behaviour_are_refused(bench: Bench, spec: SwarmSpec) -> None:
    before = cluster(bench)
    with pytest.raises(Invalid):
        await bench.control.carry_out(UpdateSwarm(version=before.version.index, spec=spec))
    assert cluster(bench) == before
    with pytest.raises(Invalid):
        new_swarm(clock=bench.clock, new_id=new_id, spec=spec)


async def test_settings_sent_back_are_a_new_version_of_the_same(bench: Bench) -> None:
    before = cluster(bench)
    await bench.control.carry_out(UpdateSwarm(version=before.version.index, spec=before.spec))
    after = cluster(bench)
    assert after.version.index > before.version.index
    assert (after.spec, after.root_ca) == (before.spec, before.root_ca)


async def test_an_unlock_key_is_not_rotated_yet(bench: Bench) -> None:
    before = cluster(bench)
    request = UpdateSwarm(version=before.version.index, spec=before.spec, rotate_unlock_key=True)
    with pytest.raises(Unsupported, match="autolock"):
        await bench.control.carry_out(request)


# -- secrets and configs ---------------------------------------------------------------------------


async def test_a_secret_keeps_its_data_and_changes_its_labels(bench: Bench) -> None:
    spec = SecretSpec(name="key", data=b"hush")
    await bench.control.carry_out(CreateSecret(id="x1", spec=spec))
    with pytest.raises(Conflict):
        await bench.control.carry_out(CreateSecret(id="x2", spec=spec))
    version = bench.store.view().secrets.get("x1").version.index  # type: ignore[union-attr]
    with pytest.raises(Invalid, match="only updates to Labels"):
        await bench.control.carry_out(
            UpdateSecret(id="key", version=version, spec=replace(spec, data=b"other"))
        )
    labelled = SecretSpec(name="key", labels={"a": "b"})
    await bench.control.carry_out(UpdateSecret(id="key", version=version, spec=labelled))
    held = bench.store.view().secrets.get("x1")
    assert held is not None and (held.spec.data, held.spec.labels) == (b"hush", {"a": "b"})
    await bench.control.carry_out(RemoveSecret(id="key"))
    assert len(bench.store.view().secrets) == 0


async def test_a_config_keeps_its_data_and_changes_its_labels(bench: Bench) -> None:
    spec = ConfigSpec(name="conf", data=b"a=b")
    await bench.control.carry_out(CreateConfig(id="c1", spec=spec))
    version = bench.store.view().configs.get("c1").version.index  # type: ignore[union-attr]
    with pytest.raises(Invalid, match="only updates to Labels"):
        await bench.control.carry_out(UpdateConfig(id="c1", version=version, spec=ConfigSpec(name="other")))
    with pytest.raises(OutOfSequence):
        await bench.control.carry_out(UpdateConfig(id="c1", version=version + 7, spec=spec))
    await bench.control.carry_out(
        UpdateConfig(id="c1", version=version, spec=replace(spec, labels={"a": "b"}))
    )
    await bench.control.carry_out(RemoveConfig(id="c1"))
    assert len(bench.store.view().configs) == 0


def user_of(**references: Any) -> Service:
    container = ContainerSpec(image="app:1", **references)
    template = TaskSpec(container_spec=container)
    return Service(id="user", spec=ServiceSpec(name="web", task_template=template))


async def test_a_secret_or_config_in_use_is_not_removed(bench: Bench) -> None:
    await bench.control.carry_out(CreateSecret(id="x1", spec=SecretSpec(name="key", data=b"x")))
    await bench.control.carry_out(CreateConfig(id="c1", spec=ConfigSpec(name="conf", data=b"x")))
    secrets, configs = (SecretReference(secret_id="x1"),), (ConfigReference(config_id="c1"),)
    async with bench.store.update() as tx:
        tx.services.put(user_of(secrets=secrets, configs=configs))
    for remove, kind in (
        (RemoveSecret(id="key"), "secret 'key'"),
        (RemoveConfig(id="conf"), "config 'conf'"),
    ):
        with pytest.raises(FailedPrecondition, match=f"{kind} is in use by the following services: web"):
            await bench.control.carry_out(remove)
    await bench.control.carry_out(RemoveService(id="web"))
    await bench.control.carry_out(RemoveSecret(id="key"))
    await bench.control.carry_out(RemoveConfig(id="conf"))


async def test_unknown_and_stale_secrets_and_configs_are_said(bench: Bench) -> None:
    spec, config = SecretSpec(name="key", data=b"x"), ConfigSpec(name="conf", data=b"x")
    for request in (
        UpdateSecret(id="key", version=1, spec=spec),
        RemoveSecret(id="key"),
        UpdateConfig(id="conf", version=1, spec=config),
        RemoveConfig(id="conf"),
    ):
        with pytest.raises(NotFound):
            await bench.control.carry_out(request)
    await bench.control.carry_out(CreateSecret(id="x1", spec=spec))
    with pytest.raises(OutOfSequence, match="update out of sequence: secret key"):
        await bench.control.carry_out(UpdateSecret(id="key", version=99, spec=spec))


async def test_a_config_name_is_taken_in_any_case_and_asking_twice_creates_once(bench: Bench) -> None:
    request = CreateConfig(id="c1", spec=ConfigSpec(name="conf", data=b"x"))
    assert await bench.control.carry_out(request) == await bench.control.carry_out(request)
    with pytest.raises(Conflict, match="config CONF already exists"):
        await bench.control.carry_out(CreateConfig(id="c2", spec=ConfigSpec(name="CONF", data=b"x")))


async def test_a_secret_driver_is_refused(bench: Bench) -> None:
    with pytest.raises(Invalid, match="secret drivers"):
        await bench.control.carry_out(
            CreateSecret(id="x", spec=SecretSpec(name="x", driver=Driver(name="v")))
        )


async def test_data_just_below_the_limit_is_taken(bench: Bench) -> None:
    secret = SecretSpec(name="x", data=bytes((500 << 10) - 1))
    await bench.control.carry_out(CreateSecret(id="x", spec=secret))
    config = ConfigSpec(name="x", data=bytes((1000 << 10) - 1))
    await bench.control.carry_out(CreateConfig(id="c", spec=config))
    with pytest.raises(Invalid, match="config data must be larger than 0"):
        await bench.control.carry_out(CreateConfig(id="d", spec=ConfigSpec(name="d", data=bytes(1000 << 10))))


@pytest.mark.parametrize("size", [0, 500 << 10])
async def test_secret_data_has_limits(bench: Bench, size: int) -> None:
    with pytest.raises(Invalid, match="data must be larger than 0"):
        await bench.control.carry_out(CreateSecret(id="x", spec=SecretSpec(name="x", data=bytes(size))))


async def test_requests_with_secrets_do_not_show_them() -> None:
    assert "hush" not in repr(CreateSecret(spec=SecretSpec(name="x", data=b"hush")))
    assert "hush" not in repr(UpdateSecret(id="x", version=1, spec=SecretSpec(name="x", data=b"hush")))


async def test_a_data_name_is_checked(bench: Bench) -> None:
    for name in ("", "-x", "x-", "a" * 65, "a b"):
        with pytest.raises(Invalid, match="invalid config name"):
            await bench.control.carry_out(CreateConfig(id="c", spec=ConfigSpec(name=name, data=b"x")))
