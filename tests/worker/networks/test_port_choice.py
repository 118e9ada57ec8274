"""Ports of the host that are free to be published."""

from __future__ import annotations

import socket
from random import Random

import pytest

from swarmcore.errors import FailedPrecondition
from swarmcore.model.endpoint import PortConfig, Protocol
from worker.networks.port_choice import FIRST, LAST, choose_port, in_use


@pytest.mark.parametrize(
    ("protocol", "kind"), [(Protocol.TCP, socket.SOCK_STREAM), (Protocol.UDP, socket.SOCK_DGRAM)]
)
def test_a_port_that_a_program_uses_is_refused(protocol: Protocol, kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as used:
        used.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            used.listen()
        number = used.getsockname()[1]
        port = PortConfig(target_port=80, published_port=number, protocol=protocol)
        with pytest.raises(FailedPrecondition, match=f"port {number}/{protocol} is already in use"):
            choose_port(port, set(), Random(1))
    assert not in_use(protocol, number)


def test_a_port_of_another_container_is_refused_for_the_same_protocol_only() -> None:
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        number = finder.getsockname()[1]
    port = PortConfig(target_port=80, published_port=number)
    with pytest.raises(FailedPrecondition, match="already in use"):
        choose_port(port, {(Protocol.TCP, number)}, Random(1))
    assert choose_port(port, {(Protocol.UDP, number)}, Random(1)) == number


def test_port_zero_means_any_that_is_free() -> None:
    random = Random(7)
    first = choose_port(PortConfig(target_port=80), set(), random)
    second = choose_port(PortConfig(target_port=80), {(Protocol.TCP, first)}, Random(7))
    assert FIRST <= first <= LAST
    assert second != first
