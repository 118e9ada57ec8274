"""Tracked flows as the kernel counts them, and forgetting them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from netoverlay.conntrack import forget_translated, live_connections
from netoverlay.containers.vip_rules import ContainerRules
from netoverlay.netns import Namespaces
from tests.netoverlay.traffic import (
    CLIENT,
    CLIENT6,
    PORT,
    SERVERS,
    SERVERS6,
    VIP,
    VIP6,
    Link,
    balanced,
    value,
)

pytestmark = pytest.mark.root


@pytest.fixture
def link(namespaces: Namespaces) -> Iterator[Link]:
    made = Link(namespaces)
    # Connections are tracked where rules ask for it.
    ContainerRules(made.client, None).balance(
        value(balanced(SERVERS[0]), balanced(SERVERS6[0], vip=VIP6, network="six"))
    )
    yield made
    made.close()


def test_a_namespace_without_flows_has_none(link: Link) -> None:
    assert live_connections(link.client, [SERVERS[0], SERVERS6[0]]) == 0
    assert live_connections(link.client, []) == 0
    assert forget_translated(link.client, []) == 0


def test_a_flow_says_where_it_goes_and_who_answers(link: Link) -> None:
    for vip, server, client in ((VIP, SERVERS[0], CLIENT), (VIP6, SERVERS6[0], CLIENT6)):
        version = socket.AF_INET6 if ":" in vip else socket.AF_INET
        link.connect(link.listen(version), vip)
        (flow,) = link.client.conntrack.flows([server])
        assert (flow.source, flow.target, flow.answers, flow.translated) == (client, vip, server, True)
        assert link.client.conntrack.flows([vip]) == [flow]
    assert live_connections(link.client, [VIP, VIP6]) == 2
    assert live_connections(link.client, [SERVERS[1]]) == 0


def test_a_flow_counts_once_whatever_addresses_find_it(link: Link) -> None:
    link.connect(link.listen())
    assert live_connections(link.client, [VIP, SERVERS[0]]) == 1


def test_half_closed_connections_are_live_and_closed_ones_are_not(link: Link) -> None:
    near, far = link.connect(link.listen())
    near.shutdown(socket.SHUT_WR)
    assert far.recv(10) == b""
    far.send(b"the answer")
    assert near.recv(20) == b"the answer"
    assert live_connections(link.client, [SERVERS[0]]) == 1
    far.close()
    assert near.recv(10) == b""
    assert live_connections(link.client, [SERVERS[0]]) == 0


def test_udp_is_no_connection(link: Link) -> None:
    udp = link.receive([SERVERS[0]])
    client = link.open(link.client, socket.AF_INET, socket.SOCK_DGRAM)
    client.connect((VIP, PORT))
    udp.ask(client)
    assert live_connections(link.client, [SERVERS[0]]) == 0
    assert forget_translated(link.client, [SERVERS[0]]) == 1


def test_a_flow_that_is_gone_already_can_be_forgotten(link: Link) -> None:
    link.connect(link.listen())
    flows = link.client.conntrack.flows([VIP])
    link.client.conntrack.forget(flows)
    link.client.conntrack.forget(flows)
    assert link.client.conntrack.flows([VIP]) == []


def test_hundreds_of_flows_are_forgotten_together(link: Link) -> None:
    udp = link.receive([SERVERS[0]])
    for _ in range(600):
        client = link.open(link.client, socket.AF_INET, socket.SOCK_DGRAM)
        client.connect((VIP, PORT))
        udp.ask(client)
    assert forget_translated(link.client, [SERVERS[0]]) == 600
    assert link.client.conntrack.flows([VIP]) == []


def test_what_is_no_address_is_refused(link: Link) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        live_connections(link.client, ["nowhere"])
