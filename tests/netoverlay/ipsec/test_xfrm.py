"""IPsec state in a real kernel. Associations need ESP, which not every kernel has; policies need only XFRM."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from netoverlay.ipsec.plan import Policy, Protection, RingKey, protection
from netoverlay.ipsec.xfrm import Xfrm

pytestmark = pytest.mark.root
KEYS = tuple(RingKey(tag=tag, secret=os.urandom(16)) for tag in (1, 2, 3))


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"pst-xfrm-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture
def host_socket(namespace: str) -> Iterator[socket.socket]:
    """Its socket is opened by a thread that enters the namespace and ends."""
    opened: list[socket.socket] = []

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(Path("/run/netns") / namespace, os.O_RDONLY)
        try:
            assert libc.setns(fd, 0x40000000) == 0
        finally:
            os.close(fd)
        opened.append(Xfrm.open())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    with opened[0] as found:
        yield found


@pytest.fixture
def xfrm(host_socket: socket.socket) -> Iterator[Xfrm]:
    made = Xfrm(host_socket.dup())
    yield made
    made.close()


def shown(namespace: str, what: str) -> str:
    done = subprocess.run(["ip", "-n", namespace, "xfrm", what], capture_output=True, text=True, check=True)
    return done.stdout


def policies(*targets: str) -> Protection:
    return Protection(
        policies=frozenset(
            Policy(source="10.0.0.1", target=target, port=4789, spi=1000 + place)
            for place, target in enumerate(targets)
        )
    )


def test_policies_follow_the_wanted_state(namespace: str, xfrm: Xfrm) -> None:
    xfrm.converge(policies("10.0.0.2", "10.0.0.3"))
    text = shown(namespace, "policy")
    assert text.count("dir out") == 2
    assert "dport 4789" in text
    assert "mark 0xd0c4e3/0xffffffff" in text
    xfrm.converge(policies("10.0.0.3"))
    assert "10.0.0.2" not in shown(namespace, "policy")
    assert xfrm.reconcile() == 0


def test_a_change_of_the_sending_key_replaces_the_policy(namespace: str, xfrm: Xfrm) -> None:
    first = Policy(source="10.0.0.1", target="10.0.0.2", port=4789, spi=1000)
    second = Policy(source="10.0.0.1", target="10.0.0.2", port=4789, spi=2000)
    xfrm.converge(Protection(policies=frozenset([first])))
    xfrm.converge(Protection(policies=frozenset([second])))
    text = shown(namespace, "policy")
    assert text.count("dir out") == 1
    assert f"spi {2000:#010x}" in text


def test_what_was_removed_or_added_by_hand_is_mended_and_counted(namespace: str, xfrm: Xfrm) -> None:
    xfrm.converge(policies("10.0.0.2", "10.0.0.3"))
    subprocess.run(["ip", "-n", namespace, "xfrm", "policy", "flush"], check=True)
    foreign = (
        "src 192.0.2.1/32 dst 192.0.2.2/32 dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel"
    )
    subprocess.run(["ip", "-n", namespace, "xfrm", "policy", "add", *foreign.split()], check=True)
    assert xfrm.reconcile() == 2
    assert xfrm.reconcile() == 0
    text = shown(namespace, "policy")
    assert "192.0.2.1" in text  # an administrator's tunnel is none of our business
    assert text.count("mark 0xd0c4e3") == 2


def test_what_an_earlier_daemon_left_is_replaced(
    namespace: str, xfrm: Xfrm, host_socket: socket.socket
) -> None:
    xfrm.converge(policies("10.0.0.2", "10.0.0.3"))
    later = Xfrm(host_socket.dup())
    later.converge(policies("10.0.0.2"))
    assert later.reconcile() == 1
    assert "10.0.0.3" not in shown(namespace, "policy")
    later.close()


def test_the_kernel_says_whether_it_can_encrypt(namespace: str, xfrm: Xfrm) -> None:
    reason = xfrm.unsupported()
    assert shown(namespace, "state") == ""  # the trial leaves nothing
    wanted = protection("10.0.0.1", ["10.0.0.2"], KEYS, 4789)
    if reason:
        assert "ESP" in reason
        with pytest.raises(OSError, match=r"."):
            xfrm.converge(wanted)
        return
    xfrm.converge(wanted)
    assert shown(namespace, "state").count("proto esp") == 4
    assert xfrm.reconcile() == 0
