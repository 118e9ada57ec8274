"""The names of one network, out of its table."""

from __future__ import annotations

import pytest

from netoverlay.dns.records import Names, key, pack, packed
from swarmcore.model.overlay import OverlayService
from tests.netoverlay.dns.sample import endpoint, table

API = OverlayService(id="api-id", name="Api", vips=("10.5.0.100",))


def test_a_service_is_its_virtual_address_and_tasks_are_their_own() -> None:
    names = Names(table(endpoint(1), endpoint(2), endpoint(3, active=False), services=(API,)))
    assert names.addresses[b"api"] == packed(["10.5.0.100"])
    assert names.addresses[b"tasks.api"] == packed(["10.5.0.1", "10.5.0.2"])
    assert names.addresses[b"host1"] == packed(["10.5.0.1"])
    assert b"host3" not in names.addresses


def test_a_service_without_endpoints_is_known_all_the_same() -> None:
    assert Names(table(services=(API,))).addresses[b"tasks.api"] == ()


def test_names_are_looked_up_in_small_letters_and_addresses_are_packed() -> None:
    assert key("Web-1") == b"web-1"
    assert (len(pack("192.0.2.1")), len(pack("fd00::1"))) == (4, 16)
    with pytest.raises(ValueError, match="not an IP address"):
        pack("web")
