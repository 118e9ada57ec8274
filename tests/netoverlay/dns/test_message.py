"""The wire format of questions and answers, against dnspython and against anything at all."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import pytest
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from netoverlay.dns.message import (
    FORMERR,
    NOTIMP,
    Ignored,
    Malformed,
    Refused,
    answer_body,
    encode_name,
    read_name,
    read_query,
    record,
    refusal,
)
from tests.netoverlay.dns.sample import parsed, query, wire

LABEL = st.binary(min_size=1, max_size=63)
NAMES = st.lists(LABEL, max_size=8).filter(lambda labels: sum(len(each) + 1 for each in labels) < 255)


@given(NAMES, st.integers(1, 65_535), st.integers(0, 65_535))
def test_any_name_is_read_as_it_was_asked(labels: list[bytes], kind: int, ident: int) -> None:
    name = dns.name.Name([*labels, b""])
    message = dns.message.make_query(name, RdataType.make(kind), id=ident)
    found = read_query(message.to_wire())
    assert (found.id, found.type, found.cls) == (ident, kind, 1)
    assert found.question[:-4] == name.to_wire()
    dotted = any(b"." in label for label in labels)
    assert found.name == (None if dotted else b".".join(labels).lower())


def test_the_case_of_the_question_is_kept_but_not_that_of_the_key() -> None:
    found = query("Tasks.API.")
    assert found.name == b"tasks.api"
    assert b"Tasks" in found.question


def test_edns_is_read() -> None:
    found = query("api", use_edns=0, payload=4096, want_dnssec=True)
    assert (found.edns, found.payload, found.dnssec, found.version) == (True, 4096, True, 0)
    assert found.repeats
    assert found.limit(stream=False) == 4096


def test_edns_options_make_a_question_one_of_its_kind() -> None:
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    assert not query("api", use_edns=0, options=[cookie]).repeats


@pytest.mark.parametrize(("payload", "limit"), [(0, 512), (100, 512), (1232, 1232), (65_535, 65_507)])
def test_an_answer_has_at_least_512_bytes_and_at_most_what_udp_carries(payload: int, limit: int) -> None:
    assert query("api", use_edns=0, payload=payload).limit(stream=False) == limit


def test_an_answer_is_no_question() -> None:
    message = dns.message.make_response(dns.message.make_query("api", "A"))
    with pytest.raises(Ignored):
        read_query(message.to_wire())


def test_other_opcodes_are_not_implemented() -> None:
    message = dns.message.make_query("api", "A")
    message.set_opcode(dns.opcode.STATUS)
    with pytest.raises(Refused) as caught:
        read_query(message.to_wire())
    assert caught.value.code == NOTIMP
    said = parsed(refusal(message.to_wire(), NOTIMP))
    assert (said.id, said.rcode(), said.opcode()) == (message.id, NOTIMP, dns.opcode.STATUS)


@pytest.mark.parametrize(
    "question",
    [
        b"\xc0\x0c\0\1\0\1",  # a pointer to itself
        b"\1a\xc0\x0c\0\1\0\1",  # back to its own begin, for ever
        b"\xc0\xff\0\1\0\1",
        b"\x40api\0\0\1\0\1",
        b"\x3fapi\0\0\1\0\1",
        b"\3api\0\0\1\0",
        b"\3api",
        b"",
        b"\x3f" + b"a" * 63 + (b"\x3f" + b"b" * 63) * 3 + b"\0\0\1\0\1",
    ],
)
def test_a_question_that_cannot_be_read_is_a_format_error(question: bytes) -> None:
    with pytest.raises(Refused) as caught:
        read_query(b"\1\2\1\0\0\1\0\0\0\0\0\0" + question)
    assert caught.value.code == FORMERR


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (2, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 3)])
def test_counts_that_do_not_fit_a_question_are_a_format_error(counts: tuple[int, ...]) -> None:
    message = wire("api")
    header = message[:4] + b"".join(count.to_bytes(2, "big") for count in counts)
    with pytest.raises(Refused):
        read_query(header + message[12:])


def test_pointers_lead_back() -> None:
    message = bytes(12) + b"\3www\7example\0" + b"\4mail\xc0\x10" + b"\xc0\x19"
    assert read_name(message, 25) == ([b"mail", b"example"], 32)
    assert read_name(message, 32) == ([b"mail", b"example"], 34)


@given(st.binary(max_size=300), st.integers(0, 310))
def test_reading_a_name_anywhere_ends(message: bytes, offset: int) -> None:
    try:
        labels, end = read_name(message, offset)
    except Malformed:
        return
    assert offset < end <= len(message)
    assert sum(len(label) + 1 for label in labels) < 255


@given(st.data())
def test_any_bytes_are_read_or_refused(data: st.DataObject) -> None:
    message = bytearray(wire("tasks.api.shop", "A", use_edns=0))
    for _ in range(data.draw(st.integers(0, 8))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(message[: data.draw(st.integers(0, len(message)))])
    for each in (cut, bytes(message), data.draw(st.binary(max_size=600))):
        try:
            read_query(each)
        except Ignored:
            pass
        except Refused as refused:
            assert parsed(refusal(each, refused.code)).rcode() == refused.code


def test_names_that_dns_cannot_carry_are_refused() -> None:
    for name in (b"a" * 64, b"a..b", b".".join([b"a" * 63] * 4)):
        with pytest.raises(ValueError):
            encode_name(name)
    assert encode_name(b"") == b"\0"
    assert encode_name(b"api.shop") == b"\3api\4shop\0"


@given(st.integers(0, 100), st.integers(512, 4096), st.booleans())
def test_an_answer_fits_and_says_when_it_is_not_all(amount: int, payload: int, edns: bool) -> None:
    asked = query("tasks.api", use_edns=0 if edns else -1, payload=payload)
    limit = asked.limit(stream=False)
    records = [record(1, 600, bytes((10, 0, 0, number))) for number in range(amount)]
    body = answer_body(asked, 0, records, limit=limit)
    assert len(body) + 2 <= limit
    said = parsed(b"\0\0" + body)
    told = sum(len(rrset) for rrset in said.answer)
    assert bool(said.flags & dns.flags.TC) == (told < amount)
    assert told == min(amount, (limit - 12 - len(asked.question) - (11 if edns else 0)) // 16)
    assert said.edns == (0 if edns else -1)
