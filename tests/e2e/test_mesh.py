"""Published ports of a real swarm: every node answers, and the replica sees the client's own address."""

from __future__ import annotations

from typing import Any

import pytest

from swarmcore.errors import SwarmError
from tests.e2e.places import at
from tests.e2e.swarm import Swarm, client_of

pytestmark = [pytest.mark.lab, pytest.mark.root]
NODES = {"m1": 11, "m2": 12, "m3": 13, "w1": 101, "w2": 102}
WEB: dict[str, Any] = {"Protocol": "tcp", "TargetPort": 8000, "PublishedPort": 8080}
CLIENT = at(201)


async def until_meshed(swarm: Swarm, replicas: int, *nodes: str) -> None:
    """Every node answers from every replica."""
    outside = await swarm.outside()
    for node in nodes or NODES:

        async def complete(node: str = node) -> bool:
            seen = await swarm.requests(outside, f"http://{at(NODES[node])}:8080/", count=10 * replicas)
            return not seen.errors and len(seen.answers) == replicas

        await swarm.until(complete, f"{replicas} replicas behind {node}")


async def test_every_node_answers_and_the_client_keeps_its_address(swarm: Swarm) -> None:
    await swarm.publish("web", 3, ports=[WEB])
    await swarm.until_running("web", 3)
    await until_meshed(swarm, 3)
    outside = await swarm.outside()
    for number in NODES.values():
        url = f"http://{at(number)}:8080/cgi-bin/client"
        seen = await swarm.requests(outside, url, count=30)
        assert seen.errors == {}
        assert {client_of(answer) for answer in seen.answers} == {CLIENT}


async def test_ipv6_clients_are_served_and_keep_their_address_too(swarm: Swarm) -> None:
    await swarm.publish("web", 2, ports=[WEB])
    await swarm.until_running("web", 2)
    outside = await swarm.outside()
    for number in NODES.values():

        async def answered(number: int = number) -> bool:
            seen = await swarm.requests(outside, f"http://[fd77::{number}]:8080/cgi-bin/client", count=20)
            clients = {client_of(answer) for answer in seen.answers}
            return not seen.errors and len(seen.answers) == 2 and clients == {"fd77::201"}

        await swarm.until(answered, f"answers over IPv6 by fd77::{number}")


async def test_the_node_itself_and_containers_reach_the_published_port(swarm: Swarm) -> None:
    await swarm.publish("web", 2, ports=[WEB])
    await swarm.publish("probe", 1)
    await swarm.until_running("web", 2)
    (probe,) = await swarm.until_running("probe", 1)
    await until_meshed(swarm, 2)
    ingress = (await swarm.get("m1", "/networks/ingress"))["Id"]
    entries = (await swarm.get("m1", "/services/web"))["Endpoint"]["VirtualIPs"]
    assert [entry["NetworkID"] for entry in entries] == [ingress, ingress]
    virtual = [entry["Addr"].partition("/")[0] for entry in entries]
    own = [f"[{each}]" if ":" in each else each for each in virtual]
    for name, number in NODES.items():
        namespace = swarm.lab.network.path(name)
        for address in ("127.0.0.1", at(number), at(102), *own):
            seen = await swarm.requests(namespace, f"http://{address}:8080/", count=10)
            assert seen.errors == {}, (name, address, seen)
    for number in NODES.values():
        seen = await swarm.requests(swarm.namespace_of(probe), f"http://{at(number)}:8080/", count=10)
        assert seen.errors == {}, (number, seen)
    seen = await swarm.requests(
        swarm.namespace_of(probe), *(f"http://{each}:8080/" for each in own), count=20
    )
    assert (seen.errors, len(seen.answers)) == ({}, 2)


async def test_a_port_that_is_taken_is_refused_and_a_removed_service_closes_it(swarm: Swarm) -> None:
    await swarm.publish("web", 1, ports=[WEB])
    with pytest.raises(SwarmError, match="8080"):
        await swarm.publish("other", 1, ports=[WEB])
    await swarm.until_running("web", 1)
    await until_meshed(swarm, 1)
    await swarm.delete("m1", "/services/web")
    outside = await swarm.outside()

    async def closed() -> bool:
        seen = await swarm.requests(outside, f"http://{at(12)}:8080/", count=1)
        return any("ConnectionRefused" in error for error in seen.errors)

    await swarm.until(closed, "port 8080 to be closed again")


async def test_a_port_of_mode_host_answers_only_where_the_task_is(swarm: Swarm) -> None:
    port = WEB | {"PublishMode": "host", "PublishedPort": 8081}
    await swarm.publish("web", 1, ports=[port], placement={"Constraints": ["node.hostname==w1"]})
    await swarm.until_running("web", 1)
    outside = await swarm.outside()

    async def answered() -> bool:
        seen = await swarm.requests(outside, f"http://{at(101)}:8081/cgi-bin/client", count=3)
        return not seen.errors and all(client_of(answer) == CLIENT for answer in seen.answers)

    await swarm.until(answered, "an answer by w1")
    seen = await swarm.requests(outside, f"http://{at(102)}:8081/", count=1)
    assert seen.total == 0


async def test_local_ingress_answers_only_where_a_replica_is(swarm: Swarm) -> None:
    await swarm.publish(
        "web",
        1,
        ports=[WEB],
        labels={"pyswarm.ingress": "local"},
        placement={"Constraints": ["node.hostname==w1"]},
    )
    await swarm.until_running("web", 1)
    await until_meshed(swarm, 1, "w1")
    seen = await swarm.requests(await swarm.outside(), f"http://{at(102)}:8080/", count=1)
    assert seen.total == 0


async def test_no_request_fails_while_the_service_is_scaled_and_updated(swarm: Swarm) -> None:
    # The server itself, without a shell before it: there are no health checks to wait for its first listen.
    server = ["httpd", "-f", "-p", "8000", "-h", "/www"]
    update = {"Order": "start-first", "Parallelism": 2}
    await swarm.publish("web", 4, ports=[WEB], update=update, Command=server)
    await swarm.until_running("web", 4)
    await until_meshed(swarm, 4)
    urls = [f"http://{at(number)}:8080/" for number in NODES.values()]
    async with swarm.continuous(await swarm.outside(), *urls, parallel=4) as end:
        await swarm.scale("web", 8)
        await swarm.until_running("web", 8)
        await swarm.scale("web", 3)

        async def only_three() -> bool:
            return len(await swarm.tasks("web")) == 3

        await swarm.until(only_three, "three tasks")
        service = await swarm.get("m1", "/services/web")
        spec = service["Spec"]
        spec["TaskTemplate"]["ForceUpdate"] = 1
        await swarm.post("m1", f"/services/{service['ID']}/update", spec, version=service["Version"]["Index"])

        async def updated() -> bool:
            status = (await swarm.get("m1", "/services/web")).get("UpdateStatus") or {}
            return status.get("State") == "completed"

        await swarm.until(updated, "the update to be complete")
        seen = await end()
    assert seen.errors == {}
    assert seen.total > 100


async def test_a_dead_node_disturbs_no_request_through_the_others_once_it_is_known(swarm: Swarm) -> None:
    await swarm.publish("web", 5, ports=[WEB])
    await swarm.until_running("web", 5)
    await until_meshed(swarm, 5)
    await swarm.lab.kill(["w2"])
    await swarm.until_running("web", 5)

    async def served() -> bool:
        urls = [f"http://{at(NODES[name])}:8080/" for name in ("m1", "m2", "m3", "w1")]
        seen = await swarm.requests(await swarm.outside(), *urls, count=60, parallel=2)
        return not seen.errors and len(seen.answers) == 5

    await swarm.until(served, "all other nodes to answer from five replicas")
