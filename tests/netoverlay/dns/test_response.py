"""Answers of upstreams, read and given on."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netoverlay.dns.message import Malformed, read_query
from netoverlay.dns.response import read_response
from tests.netoverlay.dns.sample import parsed, query, told, upstream_answer, wire

SOA = "example. 300 SOA ns.example. root.example. 1 2 3 4 60"


def test_the_shortest_ttl_counts() -> None:
    message = upstream_answer(
        wire("www.example"), "www.example. 300 CNAME a.example.", "a.example. 30 A 192.0.2.1"
    )
    assert read_response(message).lifetime == 30


@pytest.mark.parametrize("code", ["NOERROR", "NXDOMAIN"])
def test_a_negative_answer_lives_as_long_as_the_zone_says(code: str) -> None:
    assert read_response(upstream_answer(wire("x.example"), code=code, authority=(SOA,))).lifetime == 60
    assert read_response(upstream_answer(wire("x.example"), code=code)).lifetime == 0


def test_failures_are_not_kept() -> None:
    message = upstream_answer(wire("x.example"), "x.example. 300 A 192.0.2.1", code="SERVFAIL")
    assert read_response(message).lifetime == 0


def test_an_answer_ages_and_keeps_the_clients_case_and_id() -> None:
    response = read_response(upstream_answer(wire("www.example", use_edns=0), "www.example. 300 A 192.0.2.1"))
    asked = read_query(wire("WWW.example"))
    said = parsed(b"\7\7" + response.body(asked, 100, 512))
    assert said.id == 0x0707
    assert said.answer[0].ttl == 200
    assert said.question[0].name.to_text() == "WWW.example."
    assert said.edns == -1


def test_edns_is_said_to_whom_it_was_asked_with() -> None:
    response = read_response(upstream_answer(wire("www.example"), "www.example. 300 A 192.0.2.1"))
    said = parsed(b"\7\7" + response.body(query("www.example", use_edns=0), 0, 512))
    assert said.edns == 0


@given(st.integers(0, 60), st.integers(512, 1500))
def test_what_does_not_fit_is_left_out_record_by_record(amount: int, limit: int) -> None:
    lines = [f"www.example. 300 A 192.0.2.{number + 1}" for number in range(amount)]
    response = read_response(upstream_answer(wire("www.example"), *lines))
    body = response.body(query("www.example"), 0, limit)
    assert len(body) + 2 <= limit
    said = parsed(b"\0\0" + body)
    kept = sum(len(rrset) for rrset in said.answer)
    assert bool(said.flags & dns.flags.TC) == (kept < amount)


def test_compression_still_leads_where_it_did() -> None:
    lines = ("www.example. 300 CNAME a.example.", "a.example. 30 MX 10 mail.a.example.")
    response = read_response(upstream_answer(wire("www.example", "MX", use_edns=0), *lines))
    assert told(b"\0\0" + response.body(query("www.example", "MX"), 1, 512)) == [
        "10 mail.a.example.",
        "a.example.",
    ]


@given(st.data())
def test_any_bytes_are_read_or_malformed(data: st.DataObject) -> None:
    question = wire("www.example", use_edns=0)
    whole = bytearray(upstream_answer(question, "www.example. 9 A 192.0.2.1", authority=(SOA,)))
    for _ in range(data.draw(st.integers(0, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    asked = read_query(question)
    for each in (cut, bytes(whole), data.draw(st.binary(max_size=600))):
        try:
            response = read_response(each)
        except Malformed:
            continue
        if len(response.question) == len(asked.question):
            assert len(response.body(asked, 5, 512)) <= 510


def test_counts_larger_than_the_message_are_no_work() -> None:
    with pytest.raises(Malformed):
        read_response(b"\0\0\x80\0\0\0\xff\xff\xff\xff\xff\xff")
