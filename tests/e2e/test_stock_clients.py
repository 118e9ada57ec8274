"""Clients that were made for Docker drive the swarm: docker-py, the docker command, dockerode, skopeo, Prometheus."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import docker
import pytest
from docker.errors import APIError, NotFound
from docker.types import EndpointSpec, IPAMConfig, IPAMPool, RestartPolicy, ServiceMode

from pyswarmd.lab.demo_image import DEMO_REFERENCE, build_demo_image
from tests.e2e import clients
from tests.e2e.swarm import Swarm
from tests.worker.images.archives import member, tar

pytestmark = [pytest.mark.lab, pytest.mark.root]
T = TypeVar("T")
ROLES = ("services", "tasks", "nodes")


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
    result = await clients.run(swarm.host(host), "docker", *words)
    assert result.code == 0, result.err
    return result.out


async def test_the_docker_command_creates_lists_scales_and_removes(swarm: Swarm) -> None:
    template = "{{.Hostname}} {{.Status}} {{.TLSStatus}}"
    nodes = await docker_cli(swarm, "m1", "node", "ls", "--format", template)
    assert sorted(nodes.splitlines()) == [f"{name} Ready Ready" for name in ("m1", "m2", "m3", "w1", "w2")]
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


async def test_the_docker_command_tells_of_the_engine_without_false_warnings(swarm: Swarm) -> None:
    told = await clients.run(swarm.host("m1"), "docker", "info")
    assert told.code == 0 and "WARNING: No " not in told.out + told.err
    assert "Swarm: active" in told.out and "Storage Driver: overlayfs" in told.out
    version = await docker_cli(
        swarm, "m1", "version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}"
    )
    assert version.split()[0].startswith("28.") and version.split()[1] == "1.41"
    # What an update without a change leaves, and what --pretty shows of values that nobody has said.
    create = ("service", "create", "--no-resolve-image", "--detach", "--name", "idle", "--replicas", "0")
    await docker_cli(swarm, "m1", *create, DEMO_REFERENCE)
    index = ("service", "inspect", "-f", "{{.Version.Index}}", "idle")
    before = int(await docker_cli(swarm, "m1", *index))
    await docker_cli(swarm, "m1", "service", "update", "--detach", "--no-resolve-image", "idle")
    assert int(await docker_cli(swarm, "m1", *index)) > before
    assert " Max failure ratio: 0" in await docker_cli(swarm, "m1", "service", "inspect", "--pretty", "idle")
    assert '"Name": "idle"' in await docker_cli(swarm, "m1", "inspect", "idle")  # asks for containers first
    await docker_cli(swarm, "m1", "service", "rm", "idle")


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--rm", DEMO_REFERENCE, "true"),
        ("rm", "-f", "web"),
        ("ps",),
        ("push", DEMO_REFERENCE),
        ("history", DEMO_REFERENCE),
        ("save", DEMO_REFERENCE),
        ("volume", "create", "v"),
        ("pull", "alpine"),
    ],
    ids=lambda words: words[0],
)
async def test_the_docker_command_says_of_what_is_not_served_that_it_is_not(
    swarm: Swarm, words: tuple[str, ...]
) -> None:
    result = await clients.run(swarm.host("w1"), "docker", *words)
    assert result.code != 0
    assert "not supported yet" in result.err, result.err


async def test_the_docker_command_loads_imports_lists_and_removes_images(swarm: Swarm) -> None:
    host = swarm.host("w1")
    loaded = await clients.run(host, "docker", "load", stdin=build_demo_image())
    assert (loaded.code, loaded.out) == (0, f"Loaded image: {DEMO_REFERENCE}\n")
    broken = await clients.run(host, "docker", "load", stdin=b"garbage" * 100)
    assert broken.code == 1 and "archive" in broken.err
    changes = ("-c", 'CMD ["/bin/sh"]', "-c", "ENV A=1", "-c", "LABEL tier=front")
    made = await clients.run(host, "docker", "import", *changes, "-", "made:1", stdin=tar(member("a")))
    assert made.code == 0, made.err
    template = "{{json .Config.Cmd}} {{json .Config.Env}} {{json .Config.Labels}}"
    shown = await docker_cli(swarm, "w1", "image", "inspect", "-f", template, "made:1")
    assert shown.split() == ['["/bin/sh"]', '["A=1"]', '{"tier":"front"}']
    await docker_cli(swarm, "w1", "tag", "made:1", "other:2")
    table = ("images", "--format", "{{.Repository}}:{{.Tag}}")
    assert (await docker_cli(swarm, "w1", *table, "made")).split() == ["made:1"]
    assert set((await docker_cli(swarm, "w1", *table, "-f", "label=tier")).split()) == {"made:1", "other:2"}
    await docker_cli(swarm, "w1", "rmi", "made:1", "other:2")
    assert await docker_cli(swarm, "w1", *table, "made") == ""


async def test_dockerode_runs_a_service(swarm: Swarm) -> None:
    result = await clients.run(swarm.host("m2"), "node", "dockerode.js", DEMO_REFERENCE)
    assert result.code == 0, result.err
    seen = json.loads(result.out)
    assert seen.pop("version").startswith("28.")
    assert "not supported yet" in seen["container"].pop("message")
    assert seen == {
        "ping": "OK",
        "info": "active",
        "nodes": ["m1", "m2", "m3", "w1", "w2"],
        "swarm": "SWMTKN-1-",
        "network": "swarm",
        "secret": "ode-secret",
        "labels": {"tier": "front"},
        "newer": True,
        "listed": ["ode-web"],
        "tasks": ["running"],
        "logs": True,
        "images": [[DEMO_REFERENCE]],
        "image": True,
        "unknown": 404,
        "container": {"status": 501},
    }


async def test_skopeo_copies_an_image_into_the_daemon(swarm: Swarm, tmp_path: Path) -> None:
    """Its docker-daemon: transport asks for API 1.22, and only writes so far: to read it needs docker save."""
    host, archive = swarm.host("w2"), tmp_path / "demo.tar"
    archive.write_bytes(build_demo_image())
    insecure = ("--insecure-policy", "copy", "--dest-daemon-host", host.endpoint)
    source = f"docker-archive:{archive}:{DEMO_REFERENCE}"
    copied = await clients.run(host, "skopeo", *insecure, source, "docker-daemon:by/skopeo:1")
    assert copied.code == 0, copied.err
    image = await swarm.get("w2", "/images/by/skopeo:1/json")
    assert "by/skopeo:1" in image["RepoTags"]
    read = await clients.run(
        host, "skopeo", "inspect", "--daemon-host", host.endpoint, "docker-daemon:by/skopeo:1"
    )
    assert read.code != 0 and "not supported yet" in read.err, read.err
    await swarm.delete("w2", "/images/by/skopeo:1")


async def test_prometheus_discovers_services_tasks_and_nodes(swarm: Swarm, tmp_path: Path) -> None:
    """A service that only publishes a port has an address on the ingress network, or it is dropped."""
    port = {"TargetPort": 8000, "PublishedPort": 18083}
    await swarm.publish("scraped", 1, ports=[port])
    await swarm.until_running("scraped", 1)
    async with prometheus(swarm, "m1", tmp_path) as found:

        async def discovered() -> bool:
            labels = await found()
            return {"scraped", "m1"} <= labels

        await swarm.until(discovered, "Prometheus to discover the service and the nodes")
    await swarm.delete("m1", "/services/scraped")


@asynccontextmanager
async def prometheus(
    swarm: Swarm, host: str, folder: Path
) -> AsyncIterator[Callable[[], Awaitable[set[str]]]]:
    """Debian's Prometheus with dockerswarm_sd for services, tasks and nodes; the callable tells the names it found."""
    roles = [{"host": swarm.host(host).endpoint, "role": r, "refresh_interval": "1s"} for r in ROLES]
    jobs = [{"job_name": each["role"], "dockerswarm_sd_configs": [each]} for each in roles]
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": jobs}))  # JSON is YAML
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = await asyncio.create_subprocess_exec(
        clients.program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with aiohttp.ClientSession(f"http://{address}") as session:

        async def found() -> set[str]:
            try:
                async with session.get("/api/v1/targets") as response:
                    targets = (await response.json())["data"]
            except aiohttp.ClientConnectionError:
                return set()  # it is still starting
            every = [*targets["activeTargets"], *targets["droppedTargets"]]
            names = ("service_name", "node_hostname")
            return {
                each["discoveredLabels"].get(f"__meta_dockerswarm_{n}", "") for each in every for n in names
            }

        try:
            yield found
        finally:
            process.terminate()
            await process.wait()
