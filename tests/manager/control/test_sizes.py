"""No spec is so large that one request holds the leader up: lists have an end, and so has the whole."""

from __future__ import annotations

from typing import Any

import pytest

from manager.control import validate
from manager.control.network_spec import MAX_POOLS as MAX_SUBNETS
from manager.control.network_spec import canonical, check
from manager.control.ports import MAX_CHOSEN
from manager.membership.bootstrap import MAX_POOLS, check_pools
from manager.rules.swarm_spec import swarm_change
from swarmcore.errors import Invalid, SwarmError
from swarmcore.model.cluster import DEFAULT_SWARM_SPEC, SwarmSpec
from swarmcore.model.codec import convert_spec
from swarmcore.model.network import NetworkSpec
from swarmcore.model.node import NodeSpec
from swarmcore.model.secret import ConfigSpec, SecretSpec
from tests.manager.control.bench import Bench

LABELS = {f"key{n}": "x" * 1000 for n in range(3000)}


def subnets(count: int) -> NetworkSpec:
    pools = [{"Subnet": f"10.{n >> 8}.{n & 255}.0/24"} for n in range(count)]
    return canonical(convert_spec({"Name": "wide", "IPAMOptions": {"Configs": pools}}, NetworkSpec))


def test_a_network_has_many_subnets_but_not_any_number() -> None:
    check(subnets(MAX_SUBNETS))
    with pytest.raises(Invalid, match=f"at most {MAX_SUBNETS}"):
        check(subnets(MAX_SUBNETS + 1))


def test_a_swarm_has_many_pools_but_not_any_number() -> None:
    pools = [f"10.{n}.0.0/16" for n in range(256)]
    assert len(check_pools(pools, 24)) == MAX_POOLS
    with pytest.raises(Invalid, match=f"at most {MAX_POOLS}"):
        check_pools([*pools, "192.168.0.0/16"], 24)


@pytest.mark.parametrize(
    ("field", "items", "most"),
    [
        ("Constraints", ["node.role==worker"], validate.MAX_CONSTRAINTS),
        ("Platforms", [{"OS": "linux"}], validate.MAX_CONSTRAINTS),
        ("Preferences", [{"Spread": {"SpreadDescriptor": "node.labels.a"}}], validate.MAX_PREFERENCES),
    ],
    ids=["constraints", "platforms", "preferences"],
)
async def test_placement_has_an_end(field: str, items: list[Any], most: int) -> None:
    bench = await Bench().begin()
    await bench.create(
        "fits", TaskTemplate={"ContainerSpec": {"Image": "a"}, "Placement": {field: items * most}}
    )
    with pytest.raises(Invalid, match=f"{most + 1} {field}, at most {most}"):
        await bench.create(
            "over", TaskTemplate={"ContainerSpec": {"Image": "a"}, "Placement": {field: items * (most + 1)}}
        )


async def test_ports_that_the_swarm_chooses_have_an_end_and_those_of_the_user_have_not() -> None:
    bench = await Bench().begin()
    many = [{"TargetPort": n, "PublishedPort": n, "Protocol": "udp"} for n in range(10_000, 20_000)]
    await bench.create("voice", EndpointSpec={"Ports": many})
    with pytest.raises(Invalid, match=f"at most {MAX_CHOSEN} are chosen"):
        await bench.create("web", EndpointSpec={"Ports": [{"TargetPort": 80}] * (MAX_CHOSEN + 1)})


def test_every_spec_has_an_end() -> None:
    for refuse in (
        lambda: validate.node_spec(NodeSpec(labels=LABELS)),
        lambda: swarm_change(DEFAULT_SWARM_SPEC, SwarmSpec(labels=LABELS)),
        lambda: validate.secret_spec(SecretSpec(name="s", data=b"x", labels=LABELS)),
        lambda: validate.config_spec(ConfigSpec(name="c", data=b"x", labels=LABELS)),
        lambda: check(canonical(NetworkSpec(name="n", labels=LABELS))),
    ):
        with pytest.raises(SwarmError, match="is larger than"):
            refuse()
