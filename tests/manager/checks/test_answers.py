"""What a party of a network check answers says nothing beyond what it was asked, whatever it sends."""

from __future__ import annotations

import msgspec

from manager.checks.answers import MAX_TEXT, ready, report
from swarmcore.rpc.messages.check import (
    CheckedNode,
    CheckedService,
    HostFacts,
    Listening,
    NameResult,
    Outcome,
    PairResult,
    PathResult,
    PeerReady,
    ProbeReport,
    ServiceResult,
)

ME = CheckedNode(node_id="n1", name="one", addresses=("10.1.0.2",))
OTHER = CheckedNode(node_id="n2", name="two", addresses=("10.1.0.3",))
PARTIES = {"n1": ME, "n2": OTHER}
WEB = CheckedService(name="web", vip="10.1.0.9", port=80)
BIG = "x" * (1 << 20)


def test_a_party_listens_on_its_own_addresses_only_and_once() -> None:
    mine = Listening(address="10.1.0.2", tcp=1, udp=2)
    foreign = Listening(address="10.1.0.3", tcp=1, udp=2)
    no_port = Listening(address="10.1.0.2", tcp=0, udp=1 << 20)
    told = PeerReady(check_id="c", listening=(no_port, foreign, *(mine,) * 100_000))
    assert ready(told, ME).listening == (mine,)
    assert len(ready(PeerReady(check_id="c", problem=BIG), ME).problem) == MAX_TEXT


def test_an_honest_report_is_left_as_it_is() -> None:
    told = ProbeReport(
        check_id="c",
        pairs=(PairResult(node_id="n2", address="10.1.0.3", ping=Outcome.OK, mtu=1450),),
        paths=(PathResult(node_id="n2", mtu=1500, passed=1500),),
        names=(NameResult(name="web.shop", outcome=Outcome.OK, addresses=("10.1.0.9",)),),
        services=(ServiceResult(name="web", vip="10.1.0.9", port=80, outcome=Outcome.OK),),
        heard=("n2",),
        facts=HostFacts(device="eth0", device_mtu=1500, mtu=1450, drops=("udp dport 4789 drop",)),
    )
    assert report(told, PARTIES, {"web.shop"}, [WEB]) == told


def test_a_report_of_any_size_becomes_one_of_what_was_asked() -> None:
    told = ProbeReport(
        check_id="c",
        pairs=tuple(PairResult(node_id="n2", address=f"a{n % 3}", mtu=2**64 - 1) for n in range(10_000)),
        paths=tuple(PathResult(node_id="n9", mtu=-1) for _ in range(10_000)),
        names=(NameResult(name="web.shop", outcome=Outcome.OK, addresses=(BIG,) * 1000),) * 100,
        services=(ServiceResult(name="evil", vip="8.8.8.8", port=53, outcome=Outcome.OK),) * 10_000,
        heard=("n2", "n9") * 10_000,
        repairs=2**64 - 1,
        facts=HostFacts(device=BIG, drops=(BIG,) * 1000, guard=BIG),
    )
    taken = report(told, PARTIES, {"web.shop"}, [WEB])
    assert (taken.pairs, taken.paths, taken.services, taken.heard) == ((), (), (), ("n2",))
    assert len(msgspec.msgpack.encode(taken)) < 20_000
