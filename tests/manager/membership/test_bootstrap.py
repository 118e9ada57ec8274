from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from manager.membership.bootstrap import issued_by, new_swarm, seed
from pki.keystore import KeyStore
from pki.root import RootAuthority, load_certificate
from pki.tokens import parse_join_token, pins
from swarmcore.errors import FailedPrecondition, Invalid
from swarmcore.ids import is_id, new_id
from swarmcore.model.cluster import CAConfig, SwarmSpec
from swarmcore.model.node import Availability, NodeDescription, NodeRole
from tests.fakes.raft import StepClock, solo_store


def test_a_new_swarm_has_a_root_two_tokens_and_one_manager(tmp_path: Path) -> None:
    swarm = new_swarm(clock=StepClock(), new_id=new_id, availability=Availability.DRAIN)
    cluster, node = swarm.cluster, swarm.node
    assert is_id(cluster.id)
    assert is_id(node.id)
    tokens = cluster.root_ca.join_tokens
    assert tokens.worker != tokens.manager
    for token in (tokens.worker, tokens.manager):
        assert pins(parse_join_token(token), cluster.root_ca.ca_cert)
    RootAuthority(cluster.root_ca.ca_cert, cluster.root_ca.ca_key)
    assert (node.role, node.spec.role, node.spec.availability) == (
        NodeRole.MANAGER,
        NodeRole.MANAGER,
        Availability.DRAIN,
    )
    keystore = KeyStore(tmp_path)
    swarm.save(keystore)
    assert (keystore.node_id, keystore.role, keystore.cluster_id) == (node.id, NodeRole.MANAGER, cluster.id)


def test_no_secret_is_shown_by_repr() -> None:
    swarm = new_swarm(clock=StepClock(), new_id=new_id)
    shown = repr(swarm)
    assert swarm.cluster.root_ca.join_tokens.worker not in shown
    assert "PRIVATE KEY" not in shown


def test_the_certificates_life_is_the_specs() -> None:
    spec = SwarmSpec(ca_config=CAConfig(node_cert_expiry=7200 * 1_000_000_000))
    clock = StepClock()
    swarm = new_swarm(clock=clock, new_id=new_id, spec=spec)
    certificate = load_certificate(swarm.cert_pem)
    life = certificate.not_valid_after_utc - clock.now()
    assert 7190 < life.total_seconds() <= 7200


async def test_seeding_writes_the_swarm_once_and_no_other_over_it() -> None:
    store, raft = solo_store()
    swarm = new_swarm(clock=StepClock(), new_id=new_id)
    await seed(store, swarm)
    await seed(store, swarm)
    assert len(raft.log) == 1
    view = store.view()
    assert [cluster.id for cluster in view.clusters] == [swarm.cluster.id]
    assert [node.id for node in view.nodes] == [swarm.node.id]
    other = replace(swarm, cluster=replace(swarm.cluster, id=new_id()))
    with pytest.raises(FailedPrecondition, match="already holds a swarm"):
        await seed(store, other)


@pytest.mark.parametrize(
    ("pools", "size", "words"),
    [
        (("10.0.0.0/33",), 24, "invalid base pool 10.0.0.0/33"),
        (("fd00::/48",), 64, "subnet size is out of range: 64"),
        (("fd00::/48",), 24, "it is not IPv4"),
        (("10.0.0.0/28",), 24, "Subnet size is too small for pool: 24"),
        (("10.0.0.0/28",), 0, "Subnet size is too small for pool: 24"),
        (("10.0.0.0/16", "10.0.9.0/24"), 24, "overlap"),
    ],
)
def test_address_pools_that_make_no_sense_are_refused(pools: tuple[str, ...], size: int, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        new_swarm(clock=StepClock(), new_id=new_id, default_addr_pool=pools, subnet_size=size)


def test_address_pools_are_kept_and_have_docker_s_defaults() -> None:
    made = new_swarm(clock=StepClock(), new_id=new_id, default_addr_pool=("10.20.3.0/16",), subnet_size=26)
    assert (made.cluster.default_addr_pool, made.cluster.subnet_size) == (("10.20.0.0/16",), 26)
    made = new_swarm(clock=StepClock(), new_id=new_id)
    assert (made.cluster.default_addr_pool, made.cluster.subnet_size) == (("10.0.0.0/8",), 24)


def test_a_node_tells_of_its_issuer_what_the_swarm_says() -> None:
    """docker node ls compares both, and says "Needs Rotation" where they differ."""
    cluster = new_swarm(clock=StepClock(), new_id=new_id).cluster
    told = issued_by(cluster.root_ca.ca_cert)
    assert told == cluster.tls_info
    assert told.cert_issuer_public_key and told.cert_issuer_subject


@pytest.mark.parametrize(
    ("host", "wanted", "pools"),
    [
        (NodeDescription(host_subnets=("10.0.0.1/24",)), (), ("10.0.0.0/8",)),
        (NodeDescription(host_subnets=("10.0.0.1/8",)), (), ("172.16.0.0/12",)),
        (NodeDescription(host_routes=("10.0.0.0/8", "172.16.0.0/12")), (), ("192.168.0.0/16",)),
        # All are behind the company's router: then as Docker.
        (NodeDescription(host_routes=("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")), (), ("10.0.0.0/8",)),
        (NodeDescription(host_subnets=("10.0.0.1/16",)), ("10.0.0.0/15",), ("10.0.0.0/15",)),
        (NodeDescription(host_routes=("10.0.0.0/8",)), ("10.3.0.0/16",), ("10.3.0.0/16",)),
    ],
)
def test_address_pools_are_chosen_around_the_first_host(
    host: NodeDescription, wanted: tuple[str, ...], pools: tuple[str, ...]
) -> None:
    made = new_swarm(clock=StepClock(), new_id=new_id, default_addr_pool=wanted, description=host)
    assert made.cluster.default_addr_pool == pools
    assert made.node.description == host


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        (NodeDescription(host_subnets=("10.0.0.1/16",)), ("10.0.0.0/16",)),
        (NodeDescription(host_routes=("10.0.0.0/24", "10.0.1.0/24")), ("10.0.0.0/23",)),
        (NodeDescription(data_path_addr="10.0.0.1"), ("10.0.0.0/24",)),
        (NodeDescription(host_subnets=("10.0.0.1/8", "172.16.0.1/12", "192.168.0.1/16")), ()),
    ],
)
def test_pools_that_the_first_host_uses_itself_are_refused(
    host: NodeDescription, wanted: tuple[str, ...]
) -> None:
    with pytest.raises(Invalid, match=r"no room for networks of the swarm in .* beside what this host uses"):
        new_swarm(clock=StepClock(), new_id=new_id, default_addr_pool=wanted, description=host)
