"""resolv.conf, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netoverlay.containers.sandboxes import Resolving
from netoverlay.dns.resolv_conf import ResolvConf, container_text, parse, resolving
from swarmcore.model.container import DNSConfig

HOST = parse(
    """# made by hand
; and by foot
nameserver 127.0.0.53
nameserver 192.0.2.53 trailing
nameserver not-an-address
nameserver fe80::1%eth0
nameserver 192.0.2.54
domain ignored.example
search corp.example lab.example
options edns0 trust-ad
"""
)


def test_the_hosts_settings_are_read() -> None:
    assert (
        ResolvConf(
            nameservers=("127.0.0.53", "192.0.2.53", "fe80::1%eth0", "192.0.2.54"),
            search=("corp.example", "lab.example"),
            options=("edns0", "trust-ad"),
        )
        == HOST
    )


def test_a_container_gets_the_hosts_settings_and_our_name_server() -> None:
    assert container_text(None, HOST) == (
        "nameserver 127.0.0.11\nsearch corp.example lab.example\noptions edns0 trust-ad ndots:0\n"
    )
    assert container_text(None, ResolvConf()) == "nameserver 127.0.0.11\noptions ndots:0\n"


def test_the_hosts_servers_are_asked_from_the_host() -> None:
    three = ("127.0.0.53", "192.0.2.53", "fe80::1%eth0")
    assert resolving(None, HOST) == Resolving(
        upstreams=three, from_host=three, search=("corp.example", "lab.example"), ndots=0
    )


def test_what_the_service_says_takes_the_hosts_place() -> None:
    wanted = DNSConfig(nameservers=("10.5.0.9",), search=("a.example",), options=("ndots:2", "timeout:1"))
    assert container_text(wanted, HOST) == (
        "nameserver 127.0.0.11\nsearch a.example\noptions ndots:2 timeout:1\n"
    )
    assert resolving(wanted, HOST) == Resolving(upstreams=("10.5.0.9",), search=("a.example",), ndots=2)


def test_a_dot_means_no_search_domain() -> None:
    assert "search" not in container_text(DNSConfig(search=(".",)), HOST)
    assert resolving(DNSConfig(search=(".",)), HOST).search == ()


@pytest.mark.parametrize(("options", "ndots"), [(("ndots:x",), 0), (("ndots:1", "ndots:3"), 3), ((), 0)])
def test_ndots_is_the_last_number(options: tuple[str, ...], ndots: int) -> None:
    assert resolving(DNSConfig(options=options), ResolvConf()).ndots == ndots


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    found = parse(text)
    assert parse(text) == found
    assert container_text(None, found).startswith("nameserver 127.0.0.11\n")
