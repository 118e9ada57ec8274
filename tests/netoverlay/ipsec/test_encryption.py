"""Encrypted networks of a host: marked on the way out, dropped in clear, refused where the kernel cannot."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netoverlay.ipsec.encryption import Encryption
from netoverlay.ipsec.plan import RingKey
from netoverlay.netns import Namespaces
from swarmcore.errors import FailedPrecondition
from swarmcore.model.overlay import NetworkTable, OverlayNetwork, OverlayNode, OverlaySubnet

pytestmark = pytest.mark.root
KEYS = tuple(RingKey(tag=tag, secret=os.urandom(16)) for tag in (1, 2, 3))


def table(name: str, vni: int, *, encrypted: bool) -> NetworkTable:
    return NetworkTable(
        network=OverlayNetwork(
            id=name,
            name=name,
            encrypted=encrypted,
            subnets=(OverlaySubnet(subnet="10.1.0.0/24", gateway="10.1.0.1", vni=vni),),
        ),
        nodes={
            "w1": OverlayNode(id="w1", vtep="192.0.2.1"),
            "w2": OverlayNode(id="w2", vtep="192.0.2.2"),
        },
    )


TABLES = {"open": table("open", 4096, encrypted=False), "sealed": table("sealed", 4097, encrypted=True)}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Namespaces]:
    outer = Namespaces(tmp_path / "outer")
    outer.create("host")
    made = Namespaces(tmp_path / "netns", home=tmp_path / "outer" / "host")
    yield made
    made.close()
    outer.remove("host")
    outer.close()


def ruleset(host: Namespaces) -> str:
    words = ["nft", "list", "ruleset"]
    return host.home.run(lambda: subprocess.run(words, capture_output=True, text=True, check=True)).stdout


def vxlan(vni: int) -> bytes:
    return b"\x08\0\0\0" + vni.to_bytes(3, "big") + b"\0" + b"inner frame"


def arrives(host: Namespaces, vni: int) -> bool:
    """Whether a packet of the network that comes in clear reaches its receiver."""
    with (
        host.home.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        host.home.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 4789))
        receiver.settimeout(0.3)
        sender.sendto(vxlan(vni), ("127.0.0.1", 4789))
        try:
            return bool(receiver.recv(100))
        except TimeoutError:
            return False


def without_esp(encryption: Encryption) -> None:
    """The rules are there even where the kernel then has no association for them."""
    try:
        encryption.follow(TABLES, ["open", "sealed"], "192.0.2.1", KEYS)
    except OSError as error:
        assert error.errno  # this kernel has no ESP


def test_clear_packets_of_an_encrypted_network_are_dropped_and_no_others(host: Namespaces) -> None:
    encryption = Encryption(host)
    without_esp(encryption)
    assert not arrives(host, 4097)
    assert arrives(host, 4096)
    text = ruleset(host)
    assert "type route hook output priority mangle" in text
    assert "0x00d0c4e3" in text
    assert "missing" in text  # meta ipsec
    encryption.close(remove=True)
    assert "pyswarm-ipsec" not in ruleset(host)


def test_a_host_without_encrypted_networks_has_no_rules(host: Namespaces) -> None:
    encryption = Encryption(host)
    encryption.follow(TABLES, ["open"], "192.0.2.1", KEYS)
    assert ruleset(host) == ""
    assert encryption.reconcile() == 0


def test_nothing_is_carried_before_there_are_keys(host: Namespaces) -> None:
    with pytest.raises(FailedPrecondition, match="no keys"):
        Encryption(host).follow(TABLES, ["sealed"], "192.0.2.1", ())


def test_a_kernel_that_cannot_encrypt_refuses_the_network_by_name(host: Namespaces) -> None:
    encryption = Encryption(host)
    encryption.check(TABLES["open"].network)
    try:
        encryption.check(TABLES["sealed"].network)
    except FailedPrecondition as error:
        assert "network sealed is encrypted, but this host's kernel has no ESP" in str(error)
        assert "doctor" in error.hint
    encryption.close(remove=False)
