"""Joining, leaving and removal, and everything that must be refused on the way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from pyswarmd.lab.lab import Lab, temporary_lab
from tests.e2e.places import at
from tests.e2e.swarm import Swarm

pytestmark = [pytest.mark.lab, pytest.mark.root]


@pytest.fixture
async def swarm() -> AsyncIterator[Swarm]:
    async with temporary_lab(f"pst-{os.getpid()}-join", 1, 1) as lab:
        yield Swarm(lab)


async def fresh_host(lab: Lab, name: str) -> None:
    await lab.add_hosts([name])


async def token_of(swarm: Swarm, role: str) -> str:
    code, out, _ = await swarm.cli("m1", "join-token", "-q", role)
    assert code == 0
    return out.strip()


async def join(swarm: Swarm, host: str, token: str, remote: str = "") -> tuple[int, str, str]:
    address = remote or f"{swarm.host('m1').address}:2377"
    return await swarm.cli(host, "join", "--token", token, address)


def one_line(err: str) -> bool:
    return err.count("\n") == 1 and err.startswith("pyswarm: ")


async def local_state(swarm: Swarm, host: str) -> str:
    return str((await swarm.get(host, "/info"))["Swarm"]["LocalNodeState"])


async def inactive(swarm: Swarm, host: str) -> bool:
    return await local_state(swarm, host) == "inactive"


async def test_wrong_tokens_and_addresses_are_refused_and_change_nothing(swarm: Swarm) -> None:
    await fresh_host(swarm.lab, "w2")
    good = await token_of(swarm, "worker")
    nodes = set(await swarm.nodes())
    wrong_secret = good[:-4] + ("aaaa" if not good.endswith("aaaa") else "bbbb")
    wrong_root = good[:12] + ("0" if good[12] != "0" else "1") + good[13:]
    for token in (good[:-5], "SWMTKN-1-nonsense", wrong_secret, wrong_root):
        code, out, err = await join(swarm, "w2", token)
        assert (code, out, one_line(err)) == (1, "", True), err
        assert await inactive(swarm, "w2")
    code, _, err = await join(swarm, "w2", good, f"{at(250)}:2377")
    assert (code, one_line(err)) == (1, True), err
    code, _, err = await join(swarm, "w2", good, "not an address")
    assert (code, one_line(err)) == (1, True), err
    assert await inactive(swarm, "w2")
    assert set(await swarm.nodes()) == nodes
    code, out, err = await join(swarm, "w2", good)
    assert (code, err) == (0, "")
    await swarm.until_ready(["m1", "w1", "w2"], "m1")
    code, _, err = await join(swarm, "w2", good)
    assert code == 1
    assert "already part of a swarm" in err


async def test_a_rotated_token_no_longer_joins(swarm: Swarm) -> None:
    await fresh_host(swarm.lab, "w2")
    old = await token_of(swarm, "worker")
    manager = await token_of(swarm, "manager")
    code, _, _ = await swarm.cli("m1", "join-token", "--rotate", "worker")
    assert code == 0
    assert await token_of(swarm, "manager") == manager
    code, _, err = await join(swarm, "w2", old)
    assert (code, one_line(err)) == (1, True)
    assert await inactive(swarm, "w2")
    code, _, _ = await join(swarm, "w2", await token_of(swarm, "worker"))
    assert code == 0


async def test_init_twice_is_refused(swarm: Swarm) -> None:
    before = await swarm.get("m1", "/swarm")
    code, _, err = await swarm.cli("m1", "init", "--advertise-addr", swarm.host("m1").address)
    assert (code, one_line(err)) == (1, True)
    assert "already part of a swarm" in err
    assert (await swarm.get("m1", "/swarm"))["ID"] == before["ID"]


async def agrees(swarm: Swarm, host: str, role: str, state: str = "ready") -> None:
    """What `host` says of itself is what it, or m1 where it is a worker, shows of it. Each is asked once."""
    own = (await swarm.get(host, "/info"))["Swarm"]
    assert (own["LocalNodeState"], own["ControlAvailable"]) == ("active", role == "manager")
    assert own["NodeID"] in {manager["NodeID"] for manager in own["RemoteManagers"]} or role == "worker"
    shown = await swarm.get(host if role == "manager" else "m1", f"/nodes/{own['NodeID']}")
    assert (shown["Spec"]["Role"], shown["Status"]["State"]) == (role, state)
    assert shown["Description"]["Hostname"] == host and shown["Description"]["Engine"]["EngineVersion"]
    assert shown["Description"]["TLSInfo"]["CertIssuerPublicKey"]
    assert ("ManagerStatus" in shown) is (role == "manager")
    if role == "manager":
        assert shown["ManagerStatus"]["Reachability"] == "reachable"
        assert own["Nodes"] == len(await swarm.get(host, "/nodes"))
        assert own["Cluster"]["TLSInfo"] == shown["Description"]["TLSInfo"]


async def test_an_answer_means_that_the_next_request_sees_it(swarm: Swarm) -> None:
    """init, join, promote, demote, leave: nothing is waited for in between."""
    await swarm.lab.add_hosts(["m2", "w2"])
    remotes = [f"{swarm.host('m1').address}:2377"]
    for host, role in (("m2", "manager"), ("w2", "worker")):
        token = (await swarm.get("m1", "/swarm"))["JoinTokens"][role.capitalize()]
        await swarm.post(host, "/swarm/join", {"RemoteAddrs": remotes, "JoinToken": token})
        await agrees(swarm, host, role)
    for role in ("manager", "worker"):
        node = (await swarm.nodes("m2"))["w2"]
        spec = node["Spec"] | {"Role": role}
        await swarm.post("m2", f"/nodes/{node['ID']}/update", spec, version=node["Version"]["Index"])
        shown = (await swarm.nodes("m2"))["w2"]
        assert (shown["Spec"]["Role"], "ManagerStatus" in shown) == (role, role == "manager")
    node = (await swarm.nodes("m2"))["m2"]
    await swarm.post(
        "m2",
        f"/nodes/{node['ID']}/update",
        node["Spec"] | {"Role": "worker"},
        version=node["Version"]["Index"],
    )
    await agrees(swarm, "m2", "worker")
    for host in ("w2", "m2"):
        await swarm.post(host, "/swarm/leave")
        assert await inactive(swarm, host)
    made = await swarm.post("m2", "/swarm/init", {"AdvertiseAddr": swarm.host("m2").address})
    await agrees(swarm, "m2", "manager")
    assert (await swarm.get("m2", "/info"))["Swarm"]["NodeID"] == made


async def test_a_manager_joins_leaves_and_is_removed(swarm: Swarm) -> None:
    await swarm.lab.add_hosts(["m2", "m3"])
    token = await token_of(swarm, "manager")
    for host in ("m2", "m3"):
        code, out, err = await join(swarm, host, token)
        assert (code, err) == (0, "")
        assert "as a manager" in out
    await swarm.until_ready(["m1", "m2", "m3", "w1"], "m3")
    code, _, err = await swarm.cli("m2", "leave")
    assert (code, one_line(err)) == (1, True)
    code, _, err = await swarm.cli("m2", "leave", "--force")
    assert (code, err) == (0, "")
    assert await inactive(swarm, "m2")

    async def gone() -> bool:
        node = (await swarm.nodes("m3"))["m2"]
        return node["Status"]["State"] == "down" and not node.get("ManagerStatus")

    await swarm.until(gone, "m2 to be down")
    code, _, err = await swarm.cli("m3", "node", "rm", "m2")
    assert (code, err) == (0, "")
    assert set(await swarm.nodes("m1")) == {"m1", "m3", "w1"}
    code, _, err = await swarm.cli("m3", "node", "rm", "m1")
    assert (code, one_line(err)) == (1, True)


async def test_a_removed_node_is_refused_and_can_join_anew(swarm: Swarm) -> None:
    old = (await swarm.nodes())["w1"]["ID"]
    code, _, err = await swarm.cli("m1", "node", "rm", "w1")
    assert (code, one_line(err)) == (1, True)
    code, _, err = await swarm.cli("m1", "node", "rm", "--force", "w1")
    assert (code, err) == (0, "")

    async def refused() -> bool:
        return await local_state(swarm, "w1") == "error"

    await swarm.until(refused, "w1 to hear that it was removed")
    await swarm.lab.restart(["w1"])
    await swarm.until(refused, "w1 to be refused again after a restart")
    assert set(await swarm.nodes()) == {"m1"}
    code, _, err = await swarm.cli("w1", "leave", "--force")
    assert (code, err) == (0, "")
    code, _, err = await join(swarm, "w1", await token_of(swarm, "worker"))
    assert (code, err) == (0, "")
    await swarm.until_ready(["m1", "w1"], "m1")
    assert (await swarm.nodes())["w1"]["ID"] != old


async def test_a_worker_leaves_with_its_containers(swarm: Swarm) -> None:
    assert await asyncio.to_thread(lambda: len(swarm.host("w1").pids())) >= 1
    code, out, err = await swarm.cli("w1", "leave")
    assert (code, err) == (0, "")
    assert await inactive(swarm, "w1")

    async def down() -> bool:
        return bool((await swarm.nodes())["w1"]["Status"]["State"] == "down")

    await swarm.until(down, "w1 to be down")


async def test_a_second_daemon_on_the_same_directories_is_refused(swarm: Swarm) -> None:
    host = swarm.host("m1")
    code, _, err = await swarm.cli(
        "m1", "daemon", "--state-dir", str(host.state_dir), "--run-dir", str(host.run_dir)
    )
    assert code == 1
    assert "already uses" in err
    assert (await swarm.get("m1", "/info"))["Swarm"]["LocalNodeState"] == "active"


async def test_a_recovered_manager_keeps_its_state_when_the_majority_it_was_recovered_without_comes_back() -> (
    None
):
    async with temporary_lab(f"pst-{os.getpid()}-recover", 3, 0) as lab:
        swarm = Swarm(lab)
        await swarm.create("before", 0)
        old = {name: node["ID"] for name, node in (await swarm.nodes("m3")).items()}
        await lab.kill(["m1", "m2"])
        code, _, err = await swarm.cli("m3", "init", "--force-new-cluster")
        assert (code, err) == (0, "")
        await swarm.create("new", 0, host="m3")
        assert set(await swarm.nodes("m3")) == {"m3"}
        await lab.restart(["m1", "m2"])  # a majority of what was before

        async def told() -> bool:
            swarms = [(await swarm.get(host, "/info"))["Swarm"] for host in ("m1", "m2")]
            return all("before it was recovered on" in info["Error"] for info in swarms)

        await swarm.until(told, "m1 and m2 to hear that they were left behind")
        for host in ("m1", "m2"):
            assert "before it was recovered on" in swarm.host(host).log_file.read_text(), "in its log too"
        await swarm.create("newer", 0, host="m3")
        names = {service["Spec"]["Name"] for service in await swarm.get("m3", "/services")}
        assert names == {"before", "new", "newer"}
        assert (await swarm.get("m3", "/info"))["Swarm"]["Managers"] == 1
        code, out, _ = await swarm.cli("m3", "join-token", "-q", "manager")
        for host in ("m1", "m2"):
            code, _, err = await swarm.cli(host, "leave", "--force")
            assert (code, err) == (0, "")
            address = f"{swarm.host('m3').address}:2377"
            code, _, err = await swarm.cli(host, "join", "--token", out.strip(), address)
            assert (code, err) == (0, "")
        await swarm.until_ready(["m1", "m2", "m3"], "m1")
        assert {old[name] for name in ("m1", "m2")}.isdisjoint(
            {n["ID"] for n in (await swarm.nodes("m1")).values()}
        )
        await lab.kill(["m3"])  # two of three are a majority of the recovered swarm
        await swarm.leader(("m1", "m2"))
        names = {service["Spec"]["Name"] for service in await swarm.get("m1", "/services")}
        assert names == {"before", "new", "newer"}
