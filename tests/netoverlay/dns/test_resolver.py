"""One container's questions: fast answers, fair orders, and nothing that breaks it."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import dns.edns
import dns.flags
import dns.message
import dns.rcode
from hypothesis import given
from hypothesis import strategies as st

from netoverlay.dns.answers import View
from netoverlay.dns.forward import Forwarder, Path
from netoverlay.dns.limits import Counters, Limits
from netoverlay.dns.message import encode_name
from netoverlay.dns.records import Names
from netoverlay.dns.resolver import SILENCE, Resolver
from swarmcore.model.overlay import NetworkTable
from tests.netoverlay.dns.sample import API, SHOP, endpoint, parsed, table, told, wire


class Seen:
    """A resolver without upstreams, and what it was asked to send later."""

    def __init__(self, shop: NetworkTable = SHOP, ndots: int = 0, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.names = [Names(shop)]
        self.counters = Counters()
        self.sent: list[bytes] = []
        self.resolver = Resolver(
            View(lambda: self.names),
            Path((), "nowhere"),
            Forwarder(limits, self.counters),
            limits=limits,
            counters=self.counters,
            random=Random(7),
            ndots=ndots,
        )

    def ask(self, message: bytes, stream: bool = False) -> bytes:
        answer = self.resolver.answer(message, stream, self.sent.append)
        assert answer is not None
        return answer


async def test_the_second_answer_is_ready_and_equal_but_for_the_id() -> None:
    seen = Seen()
    first = seen.ask(wire("api", id=1))
    assert len(seen.resolver.ready) == 1
    second = seen.ask(wire("api", id=2))
    assert (first[:2], second[:2]) == (b"\0\1", b"\0\2")
    assert first[2:] == second[2:]
    assert seen.counters.queries == 2


async def test_the_case_of_the_question_comes_back() -> None:
    seen = Seen()
    for name in ("api", "aPi", "API"):
        said = parsed(seen.ask(wire(name)))
        assert said.question[0].name.to_text() == f"{name}."
        assert said.flags & dns.flags.RA
        assert said.answer[0].ttl == 600


async def test_every_address_comes_first_as_often_as_every_other() -> None:
    shop = table(*(endpoint(number) for number in range(1, 11)), services=(API,))
    for stream in (False, True):
        seen = Seen(shop)
        first = Counter(
            str(parsed(seen.ask(wire("tasks.api"), stream)).answer[0][0]) for _ in range(10 * 4 * 5)
        )
        assert set(first.values()) == {20}
        assert len(first) == 10


async def test_what_follows_an_address_changes_with_time() -> None:
    shop = table(*(endpoint(number) for number in range(1, 11)), services=(API,))
    seen = Seen(shop)
    followers: set[str] = set()
    for _ in range(10 * 4 * 10):
        order = [str(item) for item in parsed(seen.ask(wire("tasks.api"))).answer[0]]
        if order[0] == "10.5.0.1":
            followers.add(order[1])
    assert len(followers) > 3


async def test_more_addresses_than_orders_are_all_given_in_time() -> None:
    shop = table(
        *(endpoint(n, addresses=(f"10.5.{n >> 8}.{n & 255}",)) for n in range(1, 301)), services=(API,)
    )
    seen = Seen(shop)
    first = {str(parsed(seen.ask(wire("tasks.api"))).answer[0][0]) for _ in range(32 * 4 * 60)}
    assert len(first) > 290


async def test_clients_that_never_repeat_a_question_get_fair_orders_too() -> None:
    seen = Seen()
    first: Counter[str] = Counter()
    for number in range(400):
        cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, number.to_bytes(8, "big"))
        said = parsed(seen.ask(wire("tasks.api", use_edns=0, options=[cookie])))
        first[str(said.answer[0][0])] += 1
    assert not seen.resolver.ready
    assert min(first.values()) > 140


async def test_a_long_answer_is_cut_over_udp_and_whole_over_tcp() -> None:
    shop = table(*(endpoint(number) for number in range(1, 101)), services=(API,))
    seen = Seen(shop)
    short = parsed(seen.ask(wire("tasks.api")))
    assert short.flags & dns.flags.TC
    assert len(short.answer[0]) == 30
    assert len(seen.ask(wire("tasks.api", use_edns=0, payload=1232))) <= 1232
    whole = seen.ask(wire("tasks.api"), stream=True)
    assert not parsed(whole).flags & dns.flags.TC
    assert len(told(whole)) == 100


async def test_what_changed_is_answered_anew() -> None:
    seen = Seen()
    assert told(seen.ask(wire("api"))) == ["10.5.0.200"]
    seen.names[:] = [Names(table(services=()))]
    seen.resolver.forget()
    assert parsed(seen.ask(wire("api"))).rcode() == dns.rcode.SERVFAIL


async def test_ready_answers_do_not_grow_without_bound() -> None:
    seen = Seen(limits=Limits(local_bytes=20_000))
    for number in range(500):
        bits = bin(number + 512)[3:]
        name = "".join(
            letter.upper() if bit == "1" else letter for letter, bit in zip("tasks.api", bits, strict=True)
        )
        assert len(told(seen.ask(wire(name)))) == 2
        assert len(seen.resolver.ready) < 60


async def test_names_without_a_dot_stay_here_if_dots_were_asked_for() -> None:
    assert parsed(Seen(ndots=2).ask(wire("nobody"))).rcode() == dns.rcode.NXDOMAIN
    assert parsed(Seen(ndots=2).ask(wire("nobody", "MX"))).rcode() == dns.rcode.SERVFAIL
    assert parsed(Seen(ndots=2).ask(wire("no.body"))).rcode() == dns.rcode.SERVFAIL
    assert parsed(Seen(ndots=0).ask(wire("nobody"))).rcode() == dns.rcode.SERVFAIL


async def test_a_later_edns_is_refused_by_its_number() -> None:
    assert parsed(Seen().ask(wire("api", use_edns=1))).rcode() == dns.rcode.BADVERS


async def test_without_recursion_desired_it_is_the_same() -> None:
    assert told(Seen().ask(wire("api", flags=0))) == ["10.5.0.200"]


async def test_malformed_questions_are_counted_and_short_ones_not_answered() -> None:
    seen = Seen()
    assert seen.ask(b"\0\1\1") == SILENCE
    assert parsed(seen.ask(wire("api")[:-3])).rcode() == dns.rcode.FORMERR
    assert (seen.counters.malformed, seen.counters.queries) == (2, 0)


NAMES = st.sampled_from(["api", "tasks.api", "db", "_web._tcp.api", "1.0.5.10.in-addr.arpa", "a.b.c.shop"])
KINDS = st.sampled_from(["A", "AAAA", "PTR", "SRV", "ANY", "MX", "OPT"])


@given(st.data())
def test_any_datagram_is_answered_or_met_with_silence(data: st.DataObject) -> None:
    async def story() -> None:
        seen = Seen(ndots=data.draw(st.integers(0, 1)))
        message = bytearray(
            wire(data.draw(NAMES), data.draw(KINDS), use_edns=data.draw(st.sampled_from([-1, 0])))
        )
        for _ in range(data.draw(st.integers(0, 6))):
            message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
        for each in (bytes(message), bytes(message[:-1]), data.draw(st.binary(max_size=100))):
            for stream in (False, True, False):
                answer = seen.ask(each, stream)
                if answer:
                    assert answer[:2] == each[:2]
                    dns.message.from_wire(answer, one_rr_per_rrset=True)
                    assert stream or len(answer) <= 65_507

    asyncio.run(story())


@given(st.lists(st.binary(min_size=1, max_size=63), min_size=1, max_size=3), st.integers(0, 65_535))
def test_any_question_of_the_right_form_is_answered(labels: list[bytes], kind: int) -> None:
    async def story() -> None:
        name = b"".join(bytes((len(label),)) + label for label in labels) + encode_name(b"shop")
        message = b"\0\1\1\0\0\1\0\0\0\0\0\0" + name + kind.to_bytes(2, "big") + b"\0\1"
        answer = Seen().ask(message)
        assert answer[12 : len(message)] == message[12:]

    asyncio.run(story())
