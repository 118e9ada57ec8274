"""Calls over real TLS: who may, what comes back, how errors and deadlines arrive."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from swarmcore.errors import (
    Forbidden,
    Internal,
    Invalid,
    NotFound,
    NotManager,
    OutcomeUnknown,
    Unauthenticated,
    Unavailable,
    WrongRole,
)
from swarmcore.model.node import NodeRole
from swarmcore.rpc.client import Untrusted
from swarmcore.rpc.codec import MAX_ANONYMOUS
from tests.swarmcore.rpc.certificates import TestSwarm
from tests.swarmcore.rpc.lab import LIMIT, Echo, Fails, ForManagers, Hangs, Lab, Ping, Reply, Root, until


async def test_a_call_is_answered_and_knows_its_peer(lab: Lab) -> None:
    reply = await lab.client("w1").call(lab.address, Echo(text="hello"), Reply)
    assert reply == Reply(text="hello", peer="worker w1 at 127.0.0.1")


async def test_a_worker_is_kept_from_a_managers_route(lab: Lab) -> None:
    with pytest.raises(WrongRole, match="node w1 is a worker: this is only for managers"):
        await lab.client("w1").call(lab.address, ForManagers(), None)
    manager = lab.client("m2", NodeRole.MANAGER)
    assert await manager.call(lab.address, ForManagers(), None) is None  # type: ignore[func-returns-value]


async def test_without_a_certificate_only_open_routes_answer(lab: Lab) -> None:
    stranger = lab.client(None)
    assert (await stranger.call(lab.address, Root(), Reply)).text == "root"
    with pytest.raises(Unauthenticated, match="no certificate"):
        await stranger.call(lab.address, Echo(), Reply)


async def test_an_open_route_knows_the_certificate_if_there_is_one(lab: Lab) -> None:
    assert (await lab.client("w1").call(lab.address, Root(), Reply)).peer == "w1"


async def test_a_foreign_certificate_is_refused_by_tls(
    lab: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = TestSwarm(tmp_path, "other")
    context = lab.swarm.client(None)
    foreign.present(context, "w9", NodeRole.WORKER)
    with pytest.raises(Unavailable) as caught:
        await lab.client_of(lambda: context).call(lab.address, Root(), Reply)
    assert "certificate" in str(caught.value) + caught.value.hint
    (reason,) = (record.__dict__["reason"] for record in caplog.records)
    assert reason.startswith("TLS handshake failed: certificate verify failed")
    assert await lab.is_healthy()


async def test_a_server_of_another_swarm_is_not_talked_to(lab: Lab, tmp_path: Path) -> None:
    context = TestSwarm(tmp_path, "other").client("w1")
    with pytest.raises(Untrusted, match="is not a manager of this swarm"):
        await lab.client_of(lambda: context).call(lab.address, Root(), Reply)


async def test_a_worker_cannot_pose_as_a_manager(lab: Lab) -> None:
    context = lab.swarm.server()
    lab.swarm.present(context, "w1", NodeRole.WORKER)
    server = type(lab.server)(lambda der: (_ for _ in ()).throw(AssertionError), lambda peer: None)
    await server.start("127.0.0.1", 0, context)
    try:
        with pytest.raises(Untrusted, match="Hostname mismatch"):
            await lab.client("w2").call(f"127.0.0.1:{server.port}", Echo(), Reply)
    finally:
        await server.close()


async def test_admission_is_asked_again_on_every_call_of_a_connection(lab: Lab) -> None:
    client = lab.client("w1")
    await client.call(lab.address, Echo(), Reply)
    lab.removed.add("w1")
    with pytest.raises(Forbidden, match="w1 was removed"):
        await client.call(lab.address, Echo(), Reply)


async def test_a_route_can_go_and_come_back_while_serving(lab: Lab) -> None:
    client = lab.client("w1")
    lab.server.unregister(Echo)
    with pytest.raises(NotManager, match="not a manager"):
        await client.call(lab.address, Echo(), Reply)
    lab.server.call(Echo, lab._echo, roles=frozenset(NodeRole))
    assert (await client.call(lab.address, Echo(text="back"), Reply)).text == "back"


async def test_errors_arrive_as_they_were_raised(lab: Lab) -> None:
    with pytest.raises(NotFound, match="service web not found") as caught:
        await lab.client("w1").call(lab.address, Fails(how="user"), None)
    assert caught.value.hint == "look at service ls"


async def test_a_bug_in_a_handler_is_told_without_its_details(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Internal, match="failed to answer fails") as caught:
        await lab.client("w1").call(lab.address, Fails(), None)
    assert "a bug of ours" not in str(caught.value)
    assert "ZeroDivisionError" in caplog.text


async def test_a_call_has_a_deadline(lab: Lab) -> None:
    with pytest.raises(OutcomeUnknown, match=r"did not answer within 0\.2 s"):
        await lab.client("w1").call(lab.address, Hangs(), None, timeout=0.2)
    await until(lambda: lab.ended == ["w1"])  # nobody works for a caller that has gone


async def test_a_dead_address_is_named(lab: Lab, unused_tcp_port: int) -> None:
    with pytest.raises(Unavailable, match=f"cannot connect to 127.0.0.1:{unused_tcp_port}") as caught:
        await lab.client("w1").call(f"127.0.0.1:{unused_tcp_port}", Echo(), Reply)
    assert not isinstance(caught.value, OutcomeUnknown)


@pytest.mark.parametrize("address", ["", "nonsense", "host:port", "a@b:2377", "10.0.0.1"])
async def test_nonsense_as_an_address_is_refused(lab: Lab, address: str) -> None:
    with pytest.raises(Invalid, match="not an address"):
        await lab.client("w1").call(address, Echo(), Reply)


async def test_oversized_requests_are_refused_by_both_sides(lab: Lab) -> None:
    client = lab.client("w1")
    with pytest.raises((Invalid, OutcomeUnknown)):
        await client.call(lab.address, Echo(pad=bytes(LIMIT + 1)), Reply)
    client._limit = 10
    with pytest.raises(Invalid, match="larger than the limit"):
        await client.call(lab.address, Echo(pad=bytes(11)), Reply)
    assert await lab.is_healthy()


async def test_strangers_may_send_much_less(lab: Lab) -> None:
    assert MAX_ANONYMOUS < LIMIT
    with pytest.raises((Invalid, OutcomeUnknown)):
        await lab.client(None).call(lab.address, Root(pad=bytes(MAX_ANONYMOUS)), Reply)
    assert (await lab.client("w1").call(lab.address, Root(pad=bytes(MAX_ANONYMOUS)), Reply)).text == "root"


async def test_a_reply_of_another_type_is_an_error(lab: Lab) -> None:
    with pytest.raises(Internal, match="answered Echo wrongly: unreadable message"):
        await lab.client("w1").call(lab.address, Echo(), Ping)


async def test_calls_share_connections_and_a_new_certificate_is_used_after_refresh(lab: Lab) -> None:
    context = lab.swarm.client("w1")
    client = lab.client_of(lambda: context)
    before = await client.call(lab.address, Echo(), Reply)
    lab.swarm.present(context, "w1", NodeRole.MANAGER)  # promoted: reloaded in place
    assert await client.call(lab.address, Echo(), Reply) == before
    slow = asyncio.gather(client.call(lab.address, Hangs(), None, timeout=1.0), return_exceptions=True)
    await asyncio.sleep(0)
    client.refresh()
    assert (await client.call(lab.address, Echo(), Reply)).peer.startswith("manager w1")
    assert [type(outcome) for outcome in await slow] == [OutcomeUnknown]  # it was let run to its end


async def test_another_context_is_used_at_once(lab: Lab) -> None:
    contexts = [lab.swarm.client("w1"), lab.swarm.client("w2")]
    client = lab.client_of(lambda: contexts[0])
    assert (await client.call(lab.address, Echo(), Reply)).peer.startswith("worker w1")
    contexts.pop(0)
    assert (await client.call(lab.address, Echo(), Reply)).peer.startswith("worker w2")


async def test_many_calls_at_once(lab: Lab) -> None:
    client = lab.client("w1")
    replies = await asyncio.gather(
        *(client.call(lab.address, Echo(text=str(number)), Reply) for number in range(100))
    )
    assert [reply.text for reply in replies] == [str(number) for number in range(100)]


async def test_a_closed_client_says_so(lab: Lab) -> None:
    client = lab.client("w1")
    await client.close()
    with pytest.raises(Unavailable, match="stopping"):
        await client.call(lab.address, Echo(), Reply)


async def test_a_server_that_stops_leaves_nothing(lab: Lab) -> None:
    client = lab.client("w1")
    hanging = asyncio.gather(client.call(lab.address, Hangs(), None), return_exceptions=True)
    await client.call(lab.address, Echo(), Reply)
    await lab.server.close()
    (outcome,) = await hanging
    assert isinstance(outcome, Unavailable)
    with pytest.raises(Unavailable):
        await client.call(lab.address, Echo(), Reply)
