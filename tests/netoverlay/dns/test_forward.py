"""Questions about other names: which upstream is asked, what of its answer is believed, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import dns.flags
import dns.message
import dns.rcode
import pytest
from msgspec.structs import replace

from netoverlay.containers.sandboxes import Resolving, SandboxSpec
from netoverlay.dns.limits import Limits
from netoverlay.dns.server import DnsServer
from netoverlay.netns import Namespace
from swarmcore.aio import TaskGroup
from tests.netoverlay.dns.conftest import Client, FakeUpstream, Script, framed, read_framed
from tests.netoverlay.dns.sample import parsed, told, upstream_answer, wire

pytestmark = pytest.mark.root

Start = Callable[..., FakeUpstream]
SOA = "example. 300 SOA ns.example. root.example. 1 2 3 4 60"


def says(*records: str, code: str = "NOERROR", authority: tuple[str, ...] = ()) -> Script:
    async def script(question: bytes) -> list[bytes]:
        return [upstream_answer(question, *records, code=code, authority=authority)]

    return script


async def silent(question: bytes) -> list[bytes]:
    return []


A_RECORD = says("www.example. 300 A 192.0.2.1")


def client_of(
    server: DnsServer, box: Namespace, *upstreams: str, from_host: bool = True, **fields: object
) -> Client:
    resolving = Resolving(upstreams=upstreams, from_host=upstreams if from_host else ())
    spec = SandboxSpec(id=f"sandbox-{box.name}", task_id="t", resolving=resolving)
    return Client(box, server.add(replace(spec, **fields), box, "box"))


async def test_the_host_asks_and_the_next_time_the_answer_is_there(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    upstream = upstreams(home, "127.0.0.53", A_RECORD)
    client = client_of(server, box, "127.0.0.53")
    for name in ("www.example", "WWW.example"):
        answer = await client.ask(wire(name))
        assert told(answer) == ["192.0.2.1"]
        assert parsed(answer).question[0].name.to_text() == f"{name}."
    assert len(upstream.heard) == 1
    assert (server.counters.forwarded, server.counters.cached) == (1, 1)


async def test_an_upstream_of_the_user_is_asked_from_the_container(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    outside = upstreams(home, "127.0.0.9", says(code="NXDOMAIN"))
    inside = upstreams(box, "127.0.0.9", A_RECORD)
    client = client_of(server, box, "127.0.0.9", from_host=False)
    assert told(await client.ask(wire("www.example"))) == ["192.0.2.1"]
    assert (len(inside.heard), len(outside.heard)) == (1, 0)


async def test_an_ipv6_upstream_is_asked(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    upstreams(home, "::1", A_RECORD)
    assert told(await client_of(server, box, "::1").ask(wire("www.example"))) == ["192.0.2.1"]


@pytest.mark.parametrize(
    "first", [says(code="SERVFAIL"), says(code="REFUSED"), silent], ids=["servfail", "refused", "silent"]
)
async def test_the_next_is_asked_when_one_fails(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start, first: Script
) -> None:
    failing = upstreams(home, "127.0.0.53", first)
    upstreams(home, "127.0.0.55", A_RECORD)
    # Nobody is at .54: the kernel says so at once.
    client = client_of(server, box, "127.0.0.53", "127.0.0.54", "127.0.0.55")
    assert told(await client.ask(wire("www.example"))) == ["192.0.2.1"]
    assert failing.heard


async def test_only_three_are_asked_and_then_it_is_a_failure(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    fourth = upstreams(home, "127.0.0.56", A_RECORD)
    client = client_of(server, box, "127.0.0.53", "127.0.0.54", "127.0.0.55", "127.0.0.56")
    assert parsed(await client.ask(wire("www.example"))).rcode() == dns.rcode.SERVFAIL
    assert not fourth.heard
    assert server.counters.failures == 1


async def test_an_address_asked_as_a_name_gets_what_the_upstream_says(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    upstream = upstreams(home, "127.0.0.53", says(code="NXDOMAIN", authority=(SOA,)))
    client = client_of(server, box, "127.0.0.53")
    for _ in range(2):
        assert parsed(await client.ask(wire("192.0.2.1"))).rcode() == dns.rcode.NXDOMAIN
    assert len(upstream.heard) == 1  # the zone lets negative answers live


async def test_a_lost_question_is_sent_again(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    async def second_time(question: bytes) -> list[bytes]:
        return await A_RECORD(question) if len(upstream.heard) > 1 else []

    upstream = upstreams(home, "127.0.0.53", second_time)
    client = client_of(server, box, "127.0.0.53")
    assert told(await client.ask(wire("www.example"))) == ["192.0.2.1"]
    assert upstream.heard[0] == upstream.heard[1]


async def test_forged_answers_are_not_heard(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    async def forged(question: bytes) -> list[bytes]:
        (right,) = await A_RECORD(question)
        (lie,) = await says("www.example. 300 A 192.0.2.66")(question)
        other_id = bytes((lie[0] ^ 1,)) + lie[1:]
        other_name = lie.replace(b"\3www", b"\3xxx", 1)
        return [other_id, other_name, lie[:2] + question[2:], b"", b"\0", right]

    upstreams(home, "127.0.0.53", forged)
    client = client_of(server, box, "127.0.0.53")
    assert told(await client.ask(wire("www.example"))) == ["192.0.2.1"]


async def test_ids_are_our_own_and_options_are_not_passed_on(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    upstream = upstreams(home, "127.0.0.53", says("www.example. 0 A 192.0.2.1"))
    client = client_of(server, box, "127.0.0.53")
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    for number in range(4):
        question = wire("www.example", id=7, use_edns=0, options=[cookie], want_dnssec=number > 1)
        assert parsed(await client.ask(question)).id == 7
    heard = [parsed(each) for each in upstream.heard]
    assert len({each.id for each in heard}) > 1
    assert not any(each.options for each in heard)
    assert [bool(each.ednsflags & dns.flags.DO) for each in heard] == [False, False, True, True]


async def test_what_does_not_fit_comes_over_tcp(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    records = [f"www.example. 300 A 192.0.2.{number}" for number in range(1, 101)]

    async def cut(question: bytes) -> list[bytes]:
        message = dns.message.from_wire(upstream_answer(question))
        message.flags |= dns.flags.TC
        return [message.to_wire()]

    upstream = upstreams(home, "127.0.0.53", cut, says(*records))
    client = client_of(server, box, "127.0.0.53")
    short = await client.ask(wire("www.example"))
    assert len(upstream.heard_streams) == 1
    assert len(short) <= 512
    assert parsed(short).flags & dns.flags.TC
    (whole,) = await client.ask_stream(wire("www.example"))
    assert len(told(whole)) == 100
    assert len(told(await client.ask(wire("www.example", use_edns=0, payload=4096)))) == 100


async def test_a_part_is_better_than_nothing_where_tcp_does_not_work(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    async def cut(question: bytes) -> list[bytes]:
        message = dns.message.from_wire((await A_RECORD(question))[0])
        message.flags |= dns.flags.TC
        return [message.to_wire()]

    upstreams(home, "127.0.0.53", cut, silent)  # it closes the connection without a word
    answer = await client_of(server, box, "127.0.0.53").ask(wire("www.example"))
    assert told(answer) == ["192.0.2.1"]
    assert parsed(answer).flags & dns.flags.TC


async def test_who_asks_the_same_at_the_same_time_is_asked_for_once(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    release = asyncio.Event()

    async def waits(question: bytes) -> list[bytes]:
        await release.wait()
        return await A_RECORD(question)

    upstream = upstreams(home, "127.0.0.53", waits)
    client = client_of(server, box, "127.0.0.53")
    async with TaskGroup() as group:
        asked = [group.create_task(client.ask(wire("www.example", id=number))) for number in range(5)]
        while server.counters.forwarded < 5:
            await asyncio.sleep(0)
        release.set()
    assert [each.result()[:2] for each in asked] == [number.to_bytes(2, "big") for number in range(5)]
    assert len({each[:2] for each in upstream.heard}) == 1


async def test_too_many_at_once_are_refused(home: Namespace, box: Namespace, upstreams: Start) -> None:
    upstreams(home, "127.0.0.53", silent)
    server = DnsServer(Random(1), Limits(per_container=3, timeout=60.0), home=home)
    await server.open()
    client = client_of(server, box, "127.0.0.53")
    loop = asyncio.get_running_loop()
    with client.datagrams() as sock:
        for number in range(4):
            await loop.sock_sendall(sock, wire(f"www{number}.example", id=number))
        async with asyncio.timeout(20):
            answer = parsed(await loop.sock_recv(sock, 512))
    assert (answer.id, answer.rcode()) == (3, dns.rcode.REFUSED)
    assert server.counters.refused == 1
    await server.close()


async def test_a_connection_goes_on_while_some_of_its_questions_are_under_way(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    release = asyncio.Event()

    async def waits(question: bytes) -> list[bytes]:
        await release.wait()
        name = dns.message.from_wire(question).question[0].name
        return [upstream_answer(question, f"{name} 300 A 192.0.2.1")]

    upstream = upstreams(home, "127.0.0.53", waits)
    client = client_of(server, box, "127.0.0.53")
    reader, writer = await client.connect()
    questions = [wire(f"www{number}.example", id=number) for number in range(9)]
    writer.write(framed(wire("box", id=99), *questions))
    assert (await read_framed(reader))[:2] == b"\0\x63"
    while len({each[:2] for each in upstream.heard}) < 2:
        await asyncio.sleep(0)
    assert server.counters.forwarded == 2  # the connection's limit of questions under way
    release.set()
    ids = sorted([(await read_framed(reader))[1] for _ in questions])
    assert ids == list(range(9))
    writer.close()


async def test_a_container_that_goes_away_takes_its_questions_along(
    server: DnsServer, home: Namespace, box: Namespace, upstreams: Start
) -> None:
    release = asyncio.Event()

    async def waits(question: bytes) -> list[bytes]:
        await release.wait()
        return await A_RECORD(question)

    upstreams(home, "127.0.0.53", waits)
    client = client_of(server, box, "127.0.0.53")
    reader, writer = await client.connect()
    writer.write(framed(wire("www.example")))
    with client.datagrams() as sock:
        await asyncio.get_running_loop().sock_sendall(sock, wire("www.example"))
        while server.counters.forwarded < 2:
            await asyncio.sleep(0)
    server.remove(f"sandbox-{box.name}")
    release.set()
    assert await reader.read() == b""
    writer.close()
    again = client_of(server, box, "127.0.0.53")
    assert told(await again.ask(wire("www.example"))) == ["192.0.2.1"]


async def test_our_own_address_is_no_upstream(server: DnsServer, box: Namespace) -> None:
    client = client_of(server, box, "127.0.0.11", from_host=False)
    assert parsed(await client.ask(wire("www.example"))).rcode() == dns.rcode.SERVFAIL
    assert server.counters.forwarded == 0
