"""Namespaces: made, found again, entered by threads for that only, and gone without a trace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.links import Bridge
from netoverlay.netns import Namespaces
from swarmcore.errors import NotFound
from tests.netoverlay.hosts import open_files, unique

pytestmark = pytest.mark.root


def own() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_a_new_namespace_has_only_a_loopback_which_is_up(namespaces: Namespaces) -> None:
    made = namespaces.create(unique("a"))
    (link,) = made.route.links()
    assert (link.name, link.up) == ("lo", True)


def test_work_is_done_inside_and_every_thread_stays_home(namespaces: Namespaces) -> None:
    here, made = own(), namespaces.create(unique("a"))
    inside = made.run(own)
    assert inside == Path(made.path).stat().st_ino == os.fstat(made.fd).st_ino
    assert inside != here
    assert own() == here
    assert namespaces.home.run(own) == here


def test_work_that_fails_leaves_the_thread_at_home(namespaces: Namespaces) -> None:
    here, made = own(), namespaces.create(unique("a"))
    with pytest.raises(ZeroDivisionError):
        made.run(lambda: 1 // 0)
    assert namespaces.home.run(own) == here


def test_a_thread_of_its_own_enters_by_itself_and_comes_home(namespaces: Namespaces) -> None:
    here, first = own(), namespaces.create(unique("a"))
    me = threading.get_ident
    with ThreadPoolExecutor(1, initializer=namespaces.enter_from_this_thread) as pool:

        def work() -> list[int]:
            second = namespaces.create(unique("b"))
            with pytest.raises(ZeroDivisionError):
                first.run(lambda: 1 // 0)
            assert first.run(me) == second.run(lambda: first.run(me)) == me()
            seen = [own(), first.run(own), own(), second.run(lambda: first.run(own)), second.run(own), own()]
            return [*seen, os.fstat(second.fd).st_ino]

        *seen, second = pool.submit(work).result()
    inside = os.fstat(first.fd).st_ino
    assert seen == [here, inside, here, inside, second, here]
    assert own() == here
    assert first.run(me) != me()  # others still leave it to the namespaces' thread
    assert first.run(own) == inside


def test_work_inside_may_visit_another_namespace(namespaces: Namespaces) -> None:
    first, second = namespaces.create(unique("a")), namespaces.create(unique("b"))
    seen = first.run(lambda: (own(), second.run(own), own()))
    assert seen == (os.fstat(first.fd).st_ino, os.fstat(second.fd).st_ino, os.fstat(first.fd).st_ino)


def test_a_socket_belongs_to_its_namespace_whoever_uses_it(namespaces: Namespaces) -> None:
    first, second = namespaces.create(unique("a")), namespaces.create(unique("b"))
    with (
        first.socket(socket.AF_INET, socket.SOCK_STREAM) as one,
        second.socket(socket.AF_INET, socket.SOCK_STREAM) as other,
        first.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        one.bind(("127.0.0.1", 0))
        other.bind(one.getsockname())  # the same port, and no conflict
        one.listen()
        connecting = threading.Thread(target=client.connect, args=(one.getsockname(),))
        connecting.start()
        one.settimeout(20)
        one.accept()[0].close()
        connecting.join()
        assert not client.get_inheritable()


def test_the_name_is_exclusive(namespaces: Namespaces) -> None:
    name = unique("a")
    made = namespaces.create(name)
    with pytest.raises(FileExistsError):
        namespaces.create(name)
    assert namespaces.open(name) is made
    assert namespaces.names() == {name}


def test_an_unknown_name_and_an_unknown_process_are_named(namespaces: Namespaces) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        namespaces.open("nowhere")
    with pytest.raises(NotFound, match="4194305"):
        namespaces.of_pid(4_194_305)
    assert namespaces.names() == set()


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden"])
def test_a_name_cannot_lead_out_of_the_directory(namespaces: Namespaces, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        namespaces.create(name)


def test_a_file_that_a_reboot_left_is_no_namespace(namespaces: Namespaces) -> None:
    name = unique("a")
    namespaces.file(name).touch()
    assert namespaces.names() == set()
    with pytest.raises(NotFound):
        namespaces.open(name)
    assert namespaces.create(name).run(own) != own()
    other = unique("b")
    namespaces.file(other).touch()
    namespaces.remove(other)
    assert not namespaces.file(other).exists()


def test_what_is_removed_is_gone_with_its_file_and_its_sockets(
    namespaces: Namespaces, tmp_path: Path
) -> None:
    before = open_files()
    name = unique("a")
    made = namespaces.create(name)
    made.route.links()
    namespaces.remove(name)
    namespaces.remove(name)
    assert made.closed
    assert open_files() == before
    assert list((tmp_path / "netns").iterdir()) == []
    with pytest.raises(OSError, match="closed"):
        made.run(own)


def test_a_later_daemon_finds_what_an_earlier_one_left(namespaces: Namespaces, tmp_path: Path) -> None:
    name = unique("a")
    inside = namespaces.create(name).run(own)
    later = Namespaces(tmp_path / "netns")
    assert later.names() == {name}
    assert later.open(name).run(own) == inside
    later.close()
    later.close()
    assert namespaces.open(name).run(own) == inside


def test_the_namespace_of_a_process_is_found(namespaces: Namespaces) -> None:
    made = namespaces.create(unique("a"))
    with subprocess.Popen(
        ["nsenter", f"--net={made.path}", sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = namespaces.of_pid(process.pid)
        assert found.run(own) == os.fstat(made.fd).st_ino
        found.close()
        process.communicate(b"\n")


def test_another_namespace_can_be_the_host(namespaces: Namespaces, tmp_path: Path) -> None:
    name = unique("host")
    host = namespaces.create(name)
    inner = Namespaces(tmp_path / "inner", home=namespaces.file(name))
    assert inner.home.run(own) == os.fstat(host.fd).st_ino
    inner.close()


def test_settings_are_of_the_namespace(namespaces: Namespaces) -> None:
    path = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    here, made = path.read_text(), namespaces.create(unique("a"))
    made.sysctl("net.ipv4.ip_unprivileged_port_start", 77)
    made.sysctl("net.ipv4.no_such_setting", 1)
    batch = RouteBatch()
    batch.make_link(Bridge("br.0"))
    made.route.commit(batch)
    made.sysctl("net/ipv4/conf/br.0/rp_filter", 2)
    assert made.run(path.read_text).strip() == "77"
    assert made.run(Path("/proc/sys/net/ipv4/conf/br.0/rp_filter").read_text).strip() == "2"
    assert path.read_text() == here
