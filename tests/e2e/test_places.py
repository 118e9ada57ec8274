"""Labs of two hosts where the swarm's own pools, Docker's networks or routes to others are: no traffic goes astray."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from pyswarmd.config import PORT
from pyswarmd.lab.demo import load_image
from pyswarmd.lab.demo_image import build_demo_image
from pyswarmd.lab.lab import temporary_lab
from pyswarmd.lab.network import ip
from pyswarmd.lab.wires import Wires
from swarmcore.errors import SwarmError
from tests.e2e.places import PLACES
from tests.e2e.probing import WEB
from tests.e2e.swarm import Swarm, client_of

pytestmark = [pytest.mark.lab, pytest.mark.root]


@asynccontextmanager
async def lab_at(place: Wires, workers: int) -> AsyncIterator[Swarm]:
    async with temporary_lab(f"pst-{os.getpid()}-place", 1, workers, wires=place) as lab:
        archive = await asyncio.to_thread(build_demo_image)
        await asyncio.gather(*(load_image(host, archive) for host in lab.hosts()))
        yield Swarm(lab)


async def subnets(swarm: Swarm) -> dict[str, list[str]]:
    found = await swarm.get("m1", "/networks")
    return {
        each["Name"]: [config["Subnet"] for config in each["IPAM"]["Config"]]
        for each in found
        if each["Scope"] == "swarm"
    }


@pytest.mark.parametrize("name", [name for name in PLACES if name])
async def test_networks_of_the_swarm_are_beside_those_of_its_hosts(name: str) -> None:
    place = PLACES[name]
    async with lab_at(place, 1) as swarm:
        await swarm.network("shop", EnableIPv6=True)
        await swarm.publish("web", 2, "shop", ports=[WEB])
        await swarm.publish("probe", 1, "shop")
        await swarm.until_running("web", 2)
        (probe,) = await swarm.until_running("probe", 1)
        for taken in await _all_subnets(swarm):
            for own in (place.subnet, "fd77::/64", *place.routes):
                one, other = ip_network(taken), ip_network(own)
                assert one.version != other.version or not one.overlaps(other), (taken, own)
        outside = await swarm.outside()
        client = place.address(201)
        for number in (11, 101):
            url = f"http://{place.address(number)}:8080/cgi-bin/client"

            async def answered(url: str = url) -> bool:
                seen = await swarm.requests(outside, url, count=20)
                clients = {client_of(answer) for answer in seen.answers}
                return not seen.errors and len(seen.answers) == 2 and clients == {client}

            await swarm.until(answered, f"both replicas behind {url}")
            # And from a container, whose way out it is.
            seen = await swarm.requests(swarm.namespace_of(probe), url, count=5)
            assert seen.errors == {}
        report = await swarm.post("m1", "/networks/shop/check")
        assert report["Findings"] == [], report


async def _all_subnets(swarm: Swarm) -> list[str]:
    found = await subnets(swarm)
    assert set(found) == {"ingress", "shop"}
    return [each for name in found for each in found[name]]


async def test_a_host_in_the_way_is_let_in_while_nothing_is_there_and_refused_after() -> None:
    """Its networks are those of a second interface: hosts of one lab share a wire."""
    async with lab_at(PLACES["readme"], 0) as swarm:
        lab = swarm.lab
        assert (await subnets(swarm))["ingress"][0] == "10.0.16.0/20"
        await lab.add_hosts(["w1", "w2", "w3"])
        for host, subnet in (("w1", "10.0.17.5/24"), ("w2", "10.0.18.5/24"), ("w3", "10.0.32.9/24")):
            namespace = lab.network.namespace(host)
            await ip("-n", namespace, "link", "add", "lan0", "type", "bridge")
            await ip("-n", namespace, "address", "add", subnet, "dev", "lan0")
            await ip("-n", namespace, "link", "set", "lan0", "up")
        await _join(swarm, "w1")
        await swarm.until_ready(["m1", "w1"], "m1")
        assert (await subnets(swarm))["ingress"][0] == "10.0.32.0/20"
        await swarm.publish("web", 2, ports=[WEB])
        await swarm.until_running("web", 2)
        await _join(swarm, "w2")  # where the ingress network was before
        with pytest.raises(
            SwarmError, match=r"10\.0\.32\.0/24 overlaps with subnet 10\.0\.32\.0/20 of network ingress"
        ):
            await _join(swarm, "w3")
        assert (await swarm.get("w3", "/info"))["Swarm"]["LocalNodeState"] == "inactive"
        await swarm.until_ready(["m1", "w1", "w2"], "m1")
        assert len(await swarm.nodes()) == 3


async def _join(swarm: Swarm, name: str) -> None:
    tokens = (await swarm.get("m1", "/swarm"))["JoinTokens"]
    host = swarm.host(name)
    body = {
        "ListenAddr": f"{host.address}:{PORT}",
        "AdvertiseAddr": host.address,
        "RemoteAddrs": [f"{swarm.host('m1').address}:{PORT}"],
        "JoinToken": tokens["Worker"],
    }
    await swarm.post(name, "/swarm/join", body)
