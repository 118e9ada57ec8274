"""Addresses that only one host knows."""

from __future__ import annotations

from ipaddress import ip_network

from netoverlay.mesh.gateway_pool import free_address


def test_a_container_gets_the_address_again_that_it_had() -> None:
    assert free_address("a", 4, (), ()) == free_address("a", 4, (), ())
    assert free_address("a", 4, (), ()) != free_address("b", 4, (), ())
    assert free_address("a", 4, (free_address("a", 4, (), ()),), ()) != free_address("a", 4, (), ())


def test_gateway_addresses_avoid_the_networks_of_the_host() -> None:
    found = free_address("a", 4, (), (ip_network("172.16.0.0/12"), ip_network("fd70::/16")))
    assert found.startswith("10.239.")
    assert free_address("a", 4, (), (ip_network("0.0.0.0/0"),)).startswith("169.254.")
    assert free_address("a", 6, (), ()).startswith("fd70:7377:6172:")
