"""Docker's own clients drive the swarm: docker-py, and the docker command where it is installed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from typing import TypeVar

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.types import EndpointSpec, IPAMConfig, IPAMPool, RestartPolicy, ServiceMode

from pyswarmd.demo_image import DEMO_REFERENCE
from tests.e2e.swarm import Swarm

pytestmark = [pytest.mark.lab, pytest.mark.root]
T = TypeVar("T")


async def with_docker_py(swarm: Swarm, host: str, use: Callable[[docker.DockerClient], T]) -> T:
    """Run `use` in a thread, for docker-py blocks."""

    def run() -> T:
        client = docker.DockerClient(base_url=swarm.host(host).endpoint, version="auto")
        try:
            return use(client)
        finally:
            client.close()

    return await asyncio.to_thread(run)


async def test_docker_py_creates_scales_reads_and_removes_a_service(swarm: Swarm) -> None:
    def create(client: docker.DockerClient) -> str:
        service = client.services.create(
            DEMO_REFERENCE,
            name="web",
            labels={"tier": "front"},
            mode=ServiceMode("replicated", replicas=2),
            restart_policy=RestartPolicy(condition="any", delay=0),
        )
        return str(service.id)

    service_id = await with_docker_py(swarm, "m2", create)
    await swarm.until_running("web", 2)

    def look_and_scale(client: docker.DockerClient) -> None:
        (service,) = client.services.list(filters={"label": "tier=front"})
        assert service.id == service_id
        assert service.name == "web"
        assert {task["Slot"] for task in service.tasks(filters={"desired-state": "running"})} == {1, 2}
        assert service.scale(3)

    await with_docker_py(swarm, "m3", look_and_scale)
    await swarm.until_running("web", 3)

    def remove(client: docker.DockerClient) -> None:
        client.services.get("web").remove()
        with pytest.raises(NotFound):
            client.services.get("web")

    await with_docker_py(swarm, "m1", remove)


async def test_docker_py_lists_and_drains_nodes(swarm: Swarm) -> None:
    def drain(client: docker.DockerClient) -> None:
        nodes = {node.attrs["Description"]["Hostname"]: node for node in client.nodes.list()}
        assert set(nodes) == {"m1", "m2", "m3", "w1", "w2"}
        assert len(client.nodes.list(filters={"role": "manager"})) == 3
        assert nodes["w2"].update({"Availability": "drain", "Role": "worker"})

    await with_docker_py(swarm, "m1", drain)
    assert (await swarm.nodes())["w2"]["Spec"]["Availability"] == "drain"


async def test_docker_py_reads_the_swarm_and_its_version(swarm: Swarm) -> None:
    def read(client: docker.DockerClient) -> None:
        assert client.ping()
        assert client.version()["ApiVersion"] == "1.41"
        assert client.info()["Swarm"]["LocalNodeState"] == "active"
        client.swarm.reload()
        assert client.swarm.attrs["JoinTokens"]["Worker"].startswith("SWMTKN-1-")

    await with_docker_py(swarm, "m1", read)


async def test_docker_py_gets_the_error_of_a_field_without_behaviour(swarm: Swarm) -> None:
    def refused(client: docker.DockerClient) -> str:
        with pytest.raises(APIError) as error:
            client.services.create(DEMO_REFERENCE, init=True)
        assert error.value.status_code == 400
        return str(error.value.explanation)

    assert "not supported yet" in await with_docker_py(swarm, "m1", refused)


async def test_docker_py_makes_a_network_and_publishes_a_port_on_it(swarm: Swarm) -> None:
    def create(client: docker.DockerClient) -> str:
        pool = IPAMPool(subnet="10.213.7.0/24", gateway="10.213.7.1")
        network = client.networks.create(
            "py-shop", driver="overlay", labels={"tier": "front"}, ipam=IPAMConfig(pool_configs=[pool])
        )
        client.services.create(
            DEMO_REFERENCE,
            name="py-web",
            networks=["py-shop"],
            endpoint_spec=EndpointSpec(ports={18080: 8000}),
        )
        return str(network.id)

    network_id = await with_docker_py(swarm, "m2", create)
    await swarm.until_running("py-web", 1)

    def look(client: docker.DockerClient) -> None:
        (network,) = client.networks.list(names=["py-shop"], filters={"label": "tier=front"})
        assert network.id == network_id
        network.reload()
        assert network.attrs["IPAM"]["Config"][0]["Subnet"] == "10.213.7.0/24"
        service = client.services.get("py-web")
        assert service.attrs["Spec"]["TaskTemplate"]["Networks"] == [{"Target": network_id}]
        assert service.attrs["Endpoint"]["Ports"][0]["PublishedPort"] == 18080
        addresses = {vip["NetworkID"]: vip["Addr"] for vip in service.attrs["Endpoint"]["VirtualIPs"]}
        assert addresses[network_id].startswith("10.213.7.")
        attached = service.tasks()[0]["NetworksAttachments"]
        assert "py-shop" in {one["Network"]["Spec"]["Name"] for one in attached}
        with pytest.raises(APIError) as error:
            network.remove()
        assert "is in use by service" in str(error.value.explanation)
        service.remove()

    await with_docker_py(swarm, "m3", look)
    await swarm.until(_network_goes(swarm, "py-shop"), "the network can be removed")


def _network_goes(swarm: Swarm, name: str) -> Callable[[], Awaitable[bool]]:
    async def goes() -> bool:
        await swarm.delete("m1", f"/networks/{name}")  # an error means: not yet
        return True

    return goes


async def docker_cli(swarm: Swarm, host: str, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "docker",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=swarm.host(host).environment(),
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command is not installed")
async def test_the_docker_command_creates_lists_scales_and_removes(swarm: Swarm) -> None:
    nodes = await docker_cli(swarm, "m1", "node", "ls", "--format", "{{.Hostname}} {{.Status}}")
    assert sorted(nodes.splitlines()) == [f"{name} Ready" for name in ("m1", "m2", "m3", "w1", "w2")]
    create = ("service", "create", "--no-resolve-image", "--detach", "--name", "web", "--replicas", "2")
    await docker_cli(swarm, "m2", *create, DEMO_REFERENCE)
    await swarm.until_running("web", 2)
    listed = await docker_cli(swarm, "m3", "service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}}")
    assert listed.split() == ["web", "replicated", "2/2"]
    await docker_cli(swarm, "m1", "service", "scale", "web=3")  # waits until it has converged
    tasks = await docker_cli(swarm, "m1", "service", "ps", "web", "--format", "{{.Name}} {{.CurrentState}}")
    assert {line.split()[0] for line in tasks.splitlines() if "Running" in line} == {
        "web.1",
        "web.2",
        "web.3",
    }
    await docker_cli(swarm, "m1", "service", "rm", "web")
    assert await docker_cli(swarm, "m1", "service", "ls", "-q") == ""


@pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command is not installed")
async def test_the_docker_command_makes_networks_and_publishes_ports(swarm: Swarm) -> None:
    flags = ("-d", "overlay", "--subnet", "10.213.8.0/24", "--attachable", "--label", "tier=front")
    network_id = (await docker_cli(swarm, "m1", "network", "create", *flags, "shop")).strip()
    listed = await docker_cli(swarm, "m2", "network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}")
    assert {"shop overlay swarm", "ingress overlay swarm", "bridge bridge local"} <= set(listed.splitlines())
    found = await docker_cli(swarm, "m3", "network", "ls", "-q", "--no-trunc", "-f", "label=tier=front")
    assert found.split() == [network_id]
    template = "{{.Id}} {{(index .IPAM.Config 0).Subnet}} {{.Attachable}}"
    shown = await docker_cli(swarm, "m1", "network", "inspect", "-f", template, "shop")
    assert shown.split() == [network_id, "10.213.8.0/24", "true"]

    create = ("service", "create", "--no-resolve-image", "--detach", "--name", "web")
    joined = ("--network", "name=shop,alias=front", "-p", "18081:8000")
    await docker_cli(swarm, "m2", *create, *joined, DEMO_REFERENCE)
    await swarm.until_running("web", 1)
    assert (await docker_cli(swarm, "m3", "service", "ls", "--format", "{{.Ports}}")).strip() == (
        "*:18081->8000/tcp"
    )
    pretty = await docker_cli(swarm, "m1", "service", "inspect", "--pretty", "web")
    assert "Networks: shop" in pretty
    assert "PublishedPort = 18081" in pretty
    verbose = await docker_cli(swarm, "m1", "network", "inspect", "--verbose", "shop")
    assert "web.1." in verbose

    change = ("--network-rm", "shop", "--publish-rm", "8000", "--publish-add", "18082:8000", "--detach")
    await docker_cli(swarm, "m1", "service", "update", *change, "web")
    ports = await docker_cli(
        swarm, "m2", "service", "inspect", "-f", "{{json .Spec.EndpointSpec.Ports}}", "web"
    )
    assert "18082" in ports
    assert "18081" not in ports
    networks = await docker_cli(
        swarm, "m2", "service", "inspect", "-f", "{{len .Spec.TaskTemplate.Networks}}", "web"
    )
    assert networks.strip() == "0"
    await docker_cli(swarm, "m1", "service", "rm", "web")
    await swarm.until(_network_goes(swarm, "shop"), "the network can be removed")
