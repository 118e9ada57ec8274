"""The name server in namespaces: sockets, updates, restarts, and the programs that people use."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from random import Random

import dns.message
import dns.rcode
import pytest
from msgspec.structs import replace

from netoverlay.containers.sandboxes import Join, Resolving, SandboxSpec
from netoverlay.dns.limits import Limits
from netoverlay.dns.resolv_conf import ResolvConf, container_text
from netoverlay.dns.server import DnsServer
from netoverlay.netns import Namespace, Namespaces
from swarmcore.model.overlay import NetworkTable
from tests.netoverlay.dns.conftest import Client, framed, read_framed
from tests.netoverlay.dns.sample import API, SHOP, endpoint, parsed, table, told, wire

pytestmark = pytest.mark.root

SPEC = SandboxSpec(
    id="sandbox1",
    task_id="api-task1",
    joins=(Join(network_id="shop-id", interface="eth0", mac="", addresses=("10.5.0.1/24", "fd00::1/64")),),
)
TABLES = {"shop-id": SHOP}


@pytest.fixture
async def client(server: DnsServer, box: Namespace) -> Client:
    server.follow(TABLES)
    return Client(box, server.add(SPEC, box, "MyHost"))


async def test_names_resolve_over_udp_and_tcp(client: Client) -> None:
    assert told(await client.ask(wire("api"))) == ["10.5.0.200"]
    assert [told(each) for each in await client.ask_stream(wire("tasks.api"))] == [["10.5.0.1", "10.5.0.2"]]
    assert told(await client.ask(wire("myhost", "AAAA"))) == ["fd00::1"]


async def test_many_questions_on_one_connection_are_all_answered(client: Client) -> None:
    questions = [wire("api" if number % 2 else "tasks.db", id=number) for number in range(3000)]
    answers = await client.ask_stream(*questions)
    assert [int.from_bytes(each[:2], "big") for each in answers] == list(range(3000))


async def test_a_flood_that_nobody_reads_waits_and_is_answered_in_full(client: Client) -> None:
    reader, writer = await client.connect()
    writer.write(framed(*(wire("tasks.api", id=number) for number in range(40_000))))
    while writer.transport.get_write_buffer_size():
        assert await read_framed(reader)
        await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()
    assert told(await client.ask(wire("api"))) == ["10.5.0.200"]


async def test_a_client_that_stops_sending_still_gets_its_answers(client: Client) -> None:
    reader, writer = await client.connect()
    writer.write(framed(wire("api"), wire("db")))
    writer.write_eof()
    assert told(await read_framed(reader)) == ["10.5.0.200"]
    assert told(await read_framed(reader)) == ["10.5.0.11", "10.5.0.12"]
    assert await reader.read() == b""
    writer.close()


async def test_an_idle_connection_is_closed(client: Client) -> None:
    reader, writer = await client.connect()
    writer.write(framed(wire("api"))[:7])  # and no more
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()


async def test_the_oldest_connection_makes_room_for_a_new_one(client: Client) -> None:
    connections = [await client.connect() for _ in range(5)]
    newest_reader, newest = connections[-1]
    newest.write(framed(wire("api")))
    assert told(await read_framed(newest_reader)) == ["10.5.0.200"]
    async with asyncio.timeout(20):
        assert await connections[0][0].read() == b""
    for _, writer in connections:
        writer.close()


async def test_an_update_is_seen_at_once(server: DnsServer, client: Client) -> None:
    assert told(await client.ask(wire("tasks.api"))) == ["10.5.0.1", "10.5.0.2"]
    gone = replace(SHOP, endpoints={**SHOP.endpoints, "api-task2": endpoint(2, active=False)})
    server.follow({"shop-id": gone})
    assert told(await client.ask(wire("tasks.api"))) == ["10.5.0.1"]
    server.follow({})
    assert parsed(await client.ask(wire("tasks.api"))).rcode() == dns.rcode.SERVFAIL


async def test_an_update_of_another_network_costs_this_one_nothing(server: DnsServer, client: Client) -> None:
    await client.ask(wire("api"))
    other: NetworkTable = table(name="other")
    server.follow({**TABLES, "other-id": other})
    ready = server._containers[SPEC.id].resolver.ready
    assert len(ready) == 1
    server.follow({"shop-id": replace(SHOP), "other-id": other})
    assert not ready


async def test_containers_see_only_their_own_networks(
    server: DnsServer, client: Client, namespaces: Namespaces
) -> None:
    other = namespaces.create(client.namespace.name[:-1] + "x")
    spec = replace(SPEC, id="sandbox2", joins=(replace(SPEC.joins[0], network_id="other-id"),))
    stranger = Client(other, server.add(spec, other, "other"))
    server.follow({**TABLES, "other-id": table(services=(replace(API, vips=("10.9.0.9",)),), name="other")})
    assert told(await stranger.ask(wire("api"))) == ["10.9.0.9"]
    assert told(await client.ask(wire("api"))) == ["10.5.0.200"]
    assert parsed(await stranger.ask(wire("db"))).rcode() == dns.rcode.SERVFAIL


async def test_adding_again_keeps_the_sockets_and_changes_the_view(server: DnsServer, client: Client) -> None:
    await client.ask(wire("api"))
    assert server.add(replace(SPEC, joins=()), client.namespace, "other") == client.port
    assert parsed(await client.ask(wire("api"))).rcode() == dns.rcode.SERVFAIL
    assert len(server) == 1


async def test_a_removed_container_leaves_no_socket(server: DnsServer, client: Client) -> None:
    connection = await client.connect()
    server.remove(SPEC.id)
    server.remove(SPEC.id)
    async with asyncio.timeout(20):
        assert await connection[0].read() == b""
    connection[1].close()
    assert server.add(SPEC, client.namespace, "again") == client.port


async def test_a_restarted_server_takes_the_same_port(
    box: Namespace, client: Client, server: DnsServer
) -> None:
    answers = await client.ask_stream(wire("api"))
    await server.close()
    second = DnsServer(Random(1))
    await second.open()
    second.follow(TABLES)
    assert second.add(SPEC, box, "MyHost") == client.port
    assert told(await client.ask(wire("api"))) == told(answers[0])
    await second.close()


async def test_a_port_that_the_container_uses_is_left_to_it(box: Namespace, server: DnsServer) -> None:
    with box.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("0.0.0.0", 15_353))
        taken.listen()
        server.follow(TABLES)
        client = Client(box, server.add(SPEC, box, "MyHost"))
        assert client.port != 15_353
        assert told(await client.ask(wire("api"))) == ["10.5.0.200"]


async def test_junk_is_survived(server: DnsServer, client: Client) -> None:
    loop = asyncio.get_running_loop()
    with client.datagrams() as sock:
        for junk in (b"", b"\0", bytes(12), bytes(5000), b"\1\2\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1"):
            await loop.sock_sendall(sock, junk)
    reader, writer = await client.connect()
    writer.write(framed(b"", b"\0", wire("api")))
    assert told(await read_framed(reader)) == ["10.5.0.200"]
    writer.close()
    assert told(await client.ask(wire("api"))) == ["10.5.0.200"]
    assert server.counters.malformed >= 5


async def test_nothing_is_left_when_it_closes(home: Namespace, box: Namespace) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    server = DnsServer(Random(1), Limits(), home=home)
    await server.open()
    server.follow(TABLES)
    client = Client(box, server.add(SPEC, box, "x"))
    await client.ask(wire("api"))
    reader, writer = await client.connect()
    await server.close()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


REDIRECT = """table ip pyswarm-test {{
  chain out {{
    type nat hook output priority -100;
    ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:{port}
    ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:{port}
  }}
}}
"""


async def in_container(client: Client, resolv_conf: Path, command: str) -> str:
    """What `command` prints, run in the container's namespace with its resolv.conf."""
    process = await asyncio.create_subprocess_exec(
        "nsenter",
        f"--net={client.namespace.path}",
        "unshare",
        "--mount",
        "sh",
        "-c",
        f"mount --bind {resolv_conf} /etc/resolv.conf && {command}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


@pytest.fixture
async def resolv_conf(client: Client, tmp_path: Path) -> Path:
    """The way from port 53 is the container's rules' business; here it is nft's.

    An address beside the loopback's, or the C library asks for none (AI_ADDRCONFIG).
    """
    file = tmp_path / "resolv.conf"
    file.write_text(container_text(None, ResolvConf(search=("shop",))))
    rules = tmp_path / "redirect.nft"
    rules.write_text(REDIRECT.format(port=client.port))
    addresses = "ip address add 10.5.0.1/32 dev lo && ip address add fd00::1/128 dev lo"
    assert await in_container(client, file, f"nft -f {rules} && {addresses}") == ""
    return file


async def test_the_c_library_and_busybox_resolve(client: Client, resolv_conf: Path) -> None:
    assert (await in_container(client, resolv_conf, "getent ahostsv4 api")).startswith("10.5.0.200")
    assert "fd00::11" in await in_container(client, resolv_conf, "getent ahosts db")
    assert "api.1.api-task1.shop" in await in_container(client, resolv_conf, "getent hosts 10.5.0.1")
    looked_up = await in_container(client, resolv_conf, "busybox nslookup tasks.api")
    assert {"10.5.0.1", "10.5.0.2"} <= set(looked_up.split())


async def test_the_c_library_asks_over_tcp_what_does_not_fit(
    server: DnsServer, client: Client, resolv_conf: Path
) -> None:
    server.follow({"shop-id": table(*(endpoint(number) for number in range(1, 101)), services=(API,))})
    found = await in_container(client, resolv_conf, "getent ahostsv4 tasks.api")
    assert len({line.split()[0] for line in found.splitlines()}) == 100
    assert server.counters.connections


async def test_an_internal_container_gets_no_way_out_through_the_host(
    server: DnsServer, box: Namespace
) -> None:
    spec = replace(
        SPEC, gateway=False, resolving=Resolving(upstreams=("127.0.0.53",), from_host=("127.0.0.53",))
    )
    client = Client(box, server.add(spec, box, "inside"))
    assert parsed(await client.ask(wire("example.com"))).rcode() == dns.rcode.SERVFAIL
    assert server.counters.forwarded == 0
