"""Which ports a service gets: those it asks for, those it had, else the next free ones in turn."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from manager.allocator.ports import FIRST, LAST, Port, Ports
from manager.allocator.waiting import Waits
from manager.store.tables import SERVICES, Table
from swarmcore.model.endpoint import Endpoint, PortConfig, Protocol, PublishMode
from swarmcore.model.service import Service
from tests.manager.allocator.world import port, service

NONE: Table[Service] = Table(SERVICES)


def numbers(found: tuple[PortConfig, ...]) -> list[int]:
    return [each.published_port for each in found]


def test_ports_are_chosen_in_turn_and_a_services_own_are_kept() -> None:
    ports = Ports(())
    wanted = service("a", ports=[port(80), port(443), port(53, protocol=Protocol.UDP)])
    given = ports.choose(wanted, NONE)
    assert numbers(given) == [FIRST, FIRST + 1, FIRST]
    had = replace(wanted, endpoint=Endpoint(ports=given))
    again = Ports((had,))
    assert again.choose(had, NONE) == given
    assert numbers(again.choose(service("b", ports=[port(80)]), NONE)) == [FIRST + 2]


def test_a_port_that_is_taken_is_refused_with_its_holders_name() -> None:
    holder = replace(service("a"), endpoint=Endpoint(ports=(port(80, 8080),)))
    with pytest.raises(Waits, match="port 8080/tcp is already in use by service service-a"):
        Ports((holder,)).choose(service("b", ports=[port(80, 8080)]), Table(SERVICES, (holder,)))


def test_ports_of_hosts_are_left_as_they_are() -> None:
    wanted = service("a", ports=[port(80, mode=PublishMode.HOST)])
    assert numbers(Ports(()).choose(wanted, NONE)) == [0]


def test_when_all_are_published_services_wait_until_one_is_given_back() -> None:
    ports = Ports(())
    everything: list[Port] = [(Protocol.TCP, number) for number in range(FIRST, LAST + 1)]
    ports.note_change("a", (), everything)
    with pytest.raises(Waits, match="all tcp ports from 30000 to 32767 are published"):
        ports.choose(service("b", ports=[port(80)]), NONE)
    assert ports.note_change("a", everything, everything[1:])
    assert numbers(ports.choose(service("b", ports=[port(80)]), NONE)) == [FIRST]
