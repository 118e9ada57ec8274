"""Whatever a worker tells can be stored, compared, reckoned with and read by clients afterwards, or is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.rules.clashes import MOST_NETWORKS, host_networks
from manager.rules.reports import (
    MAX_DESCRIPTION,
    MAX_ID,
    MAX_NAME,
    MAX_TEXT,
    MOST_PORTS,
    checked_description,
    checked_status,
)
from swarmcore.errors import Invalid
from swarmcore.model.endpoint import PortConfig
from swarmcore.model.node import EngineDescription, Node, NodeDescription, TLSInfo
from swarmcore.model.resources import DiscreteResource, GenericResource, Resources
from swarmcore.model.task import ContainerStatus, PortStatus, TaskState, TaskStatus
from tests.manager.orchestrator.objects import at

BIG = "x" * (16 << 20)
NUMBERS = st.integers(-(2**63), 2**64 - 1)
TEXTS = st.text() | st.sampled_from(["10.0.0.7/24", "10.0.0.7", "fe80::1/64", "", "é" * 5000])


@given(
    hostname=TEXTS,
    address=st.just("") | TEXTS,
    subnets=st.lists(TEXTS),
    cpus=NUMBERS,
    memory=NUMBERS,
    count=NUMBERS,
)
def test_a_description_is_sound_or_refused(
    hostname: str, address: str, subnets: list[str], cpus: int, memory: int, count: int
) -> None:
    told = NodeDescription(
        hostname=hostname,
        data_path_addr=address,
        host_subnets=tuple(subnets),
        host_routes=tuple(subnets),
        resources=Resources(
            nano_cpus=cpus,
            memory_bytes=memory,
            generic_resources=(
                GenericResource(discrete_resource_spec=DiscreteResource(kind="SSD", value=count)),
            ),
        ),
    )
    try:
        taken = checked_description(told)
    except Invalid:
        assert address not in ("", "10.0.0.7")
        return
    found = taken.resources
    discrete = found.generic_resources[0].discrete_resource_spec
    assert discrete is not None
    assert all(0 <= number < 2**63 for number in (found.nano_cpus, found.memory_bytes, discrete.value))
    assert len(taken.hostname) <= MAX_NAME
    assert checked_description(taken) == taken
    host_networks(Node(id="n1", description=taken))


@pytest.mark.parametrize(
    "told",
    [
        NodeDescription(engine=EngineDescription(labels={"a": BIG})),
        NodeDescription(engine=EngineDescription(labels={f"{n}": "v" for n in range(100_000)})),
        NodeDescription(tls_info=TLSInfo(trust_root=BIG)),
        NodeDescription(engine=EngineDescription(engine_version=BIG)),
    ],
    ids=["one label", "many labels", "trust root", "version"],
)
def test_a_description_that_is_too_large_is_refused_in_one_line(told: NodeDescription) -> None:
    with pytest.raises(Invalid, match=f"at most {MAX_DESCRIPTION >> 10} KiB") as refused:
        checked_description(told)
    assert len(str(refused.value)) < 200


def test_what_can_be_clipped_is() -> None:
    told = NodeDescription(hostname=BIG, fault=BIG, host_subnets=("10.0.0.1/24", "nonsense") * 100_000)
    taken = checked_description(told)
    assert len(taken.hostname) == MAX_NAME and len(taken.fault) == MAX_TEXT
    assert set(taken.host_subnets) == {"10.0.0.1/24"} and len(taken.host_subnets) <= MOST_NETWORKS


def test_an_address_that_no_other_host_could_use_is_refused() -> None:
    with pytest.raises(Invalid, match="is no IP address"):
        checked_description(NodeDescription(data_path_addr="; drop table"))


@given(pid=NUMBERS, code=NUMBERS, published=st.integers(0, 2**64 - 1), count=st.integers(0, 3))
def test_a_status_is_always_sound(pid: int, code: int, published: int, count: int) -> None:
    told = TaskStatus(
        state=TaskState.RUNNING,
        message="m" * 5000,
        err="e" * 5000,
        container_status=ContainerStatus(container_id="c" * 500, pid=pid, exit_code=code),
        port_status=PortStatus(ports=(PortConfig(published_port=published, name="n" * 300 * count),)),
    )
    taken = checked_status(told, at(0))
    container = taken.container_status
    assert container is not None
    assert 0 <= container.pid < 2**31 and abs(container.exit_code) < 2**31
    assert len(container.container_id) <= MAX_ID
    assert all(port.published_port < 1 << 16 for port in taken.port_status.ports)
    assert checked_status(taken, at(0)) == taken


def test_a_status_of_any_size_becomes_a_small_one() -> None:
    ports = PortStatus(ports=(PortConfig(published_port=80, name="http"),) * 100_000)
    told = TaskStatus(message=BIG, err=BIG, port_status=ports)
    taken = checked_status(replace(told, container_status=ContainerStatus(container_id=BIG)), at(0))
    assert len(taken.port_status.ports) == MOST_PORTS
    assert len(msgspec.msgpack.encode(taken)) < 200_000
