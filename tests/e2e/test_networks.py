"""Containers on overlay networks of a real swarm: names, virtual addresses, the way out."""

from __future__ import annotations

import asyncio

import pytest

from swarmcore.errors import Invalid
from tests.e2e.places import at
from tests.e2e.swarm import Swarm, client_of

pytestmark = [pytest.mark.lab, pytest.mark.root]
PORT = 8000


def addresses(text: str) -> set[str]:
    """The answers in busybox nslookup's output: the first address is the server's."""
    lines = [line for line in text.splitlines() if line.startswith("Address")]
    return {line.split()[-1] for line in lines[1:]}


async def test_a_name_means_one_address_that_spreads_over_all_replicas(swarm: Swarm) -> None:
    await swarm.network("shop")
    await swarm.publish("api", 5, "shop", aliases=["backend"])
    await swarm.publish("probe", 1, "shop")
    api = await swarm.until_running("api", 5)
    (probe,) = await swarm.until_running("probe", 1)
    assert len({task["NodeID"] for task in api}) == 5
    service = await swarm.get("m1", "/services/api")
    (vip,) = [entry["Addr"].partition("/")[0] for entry in service["Endpoint"]["VirtualIPs"]]
    own = {task["NetworksAttachments"][0]["Addresses"][0].partition("/")[0] for task in api}

    async def all_named() -> bool:
        _, text = await swarm.inside(probe, "nslookup", "tasks.api")
        return addresses(text) == own

    await swarm.until(all_named, "all five replicas behind tasks.api")
    for name in ("api", "API", "backend", "api.shop"):
        _, text = await swarm.inside(probe, "nslookup", name)
        assert addresses(text) == {vip}, text
    seen = await swarm.requests(swarm.namespace_of(probe), f"http://{vip}:{PORT}/", count=200)
    assert seen.errors == {}
    assert len(seen.answers) == 5
    assert min(seen.answers.values()) > 15


async def test_the_server_sees_the_calling_containers_address(swarm: Swarm) -> None:
    await swarm.network("shop")
    await swarm.publish("api", 2, "shop")
    await swarm.publish("probe", 1, "shop")
    await swarm.until_running("api", 2)
    (probe,) = await swarm.until_running("probe", 1)
    own = probe["NetworksAttachments"][0]["Addresses"][0].partition("/")[0]

    async def answered() -> bool:
        code, text = await swarm.inside(probe, "wget", "-qO-", f"http://api:{PORT}/cgi-bin/client")
        return code == 0 and client_of(text) == own

    await swarm.until(answered, f"an answer that names {own}")


async def test_networks_are_apart_from_each_other(swarm: Swarm) -> None:
    await swarm.network("shop")
    await swarm.network("bank", Internal=True)
    await swarm.publish("api", 1, "shop")
    await swarm.publish("vault", 1, "bank")
    (api,) = await swarm.until_running("api", 1)
    (vault,) = await swarm.until_running("vault", 1)
    code, text = await swarm.inside(api, "nslookup", "vault")
    assert code != 0, text
    target = vault["NetworksAttachments"][0]["Addresses"][0].partition("/")[0]
    code, _ = await swarm.inside(api, "timeout", "2", "wget", "-qO-", f"http://{target}:{PORT}/")
    assert code != 0


async def test_containers_reach_the_outside_but_not_from_an_internal_network(swarm: Swarm) -> None:
    outside = await swarm.outside()
    server = await asyncio.create_subprocess_exec(
        *(
            "nsenter",
            f"--net={outside}",
            "--",
            "busybox",
            "httpd",
            "-f",
            "-p",
            f"{at(201)}:8099",
            "-h",
            "/etc",
        )
    )
    try:
        await swarm.network("shop")
        await swarm.network("bank", Internal=True)
        await swarm.publish("free", 1, "shop")
        await swarm.publish("plain", 1)
        await swarm.publish("locked", 1, "bank")
        url = f"http://{at(201)}:8099/hostname"
        for name, gets_out in (("free", True), ("plain", True), ("locked", False)):
            (task,) = await swarm.until_running(name, 1)
            code, text = await swarm.inside(task, "timeout", "3", "wget", "-qO-", url)
            assert (code == 0) is gets_out, (name, text)
    finally:
        server.kill()
        await server.wait()


async def test_a_network_in_use_is_not_removed_and_one_that_is_not_leaves_nothing(swarm: Swarm) -> None:
    network = await swarm.network("shop")
    await swarm.publish("api", 5, "shop")
    await swarm.until_running("api", 5)
    with pytest.raises(Invalid, match="in use by service"):
        await swarm.delete("m1", f"/networks/{network}")
    await swarm.delete("m1", "/services/api")

    async def removed() -> bool:
        if await swarm.get("m1", "/tasks"):
            return False
        await swarm.delete("m1", f"/networks/{network}")
        return True

    await swarm.until(removed, "the network to be removable")

    async def clean() -> bool:
        folders = [swarm.host(name).run_dir / "netns" for name in ("m1", "m2", "m3", "w1", "w2")]
        return not any(entry for folder in folders for entry in folder.iterdir())

    await swarm.until(clean, "no namespace to be left on any host")
