"""What `service update` sends, and how a service is shown for reading."""

from __future__ import annotations

from typing import Any

import pytest

from pyswarmd.cli.main import build
from pyswarmd.cli.service_pretty import lines
from swarmcore.errors import Invalid
from swarmcore.model.codec import convert_spec
from swarmcore.model.service import ServiceSpec
from tests.fakes.engine import FakeEngine, engine


def service(**spec: Any) -> dict[str, Any]:
    template = {"ContainerSpec": {"Image": "app:1"}} | spec.pop("TaskTemplate", {})
    return {
        "ID": "web1",
        "Version": {"Index": 9},
        "Spec": {"Name": "web", "Mode": {"Replicated": {"Replicas": 1}}, "TaskTemplate": template} | spec,
    }


async def run(*words: str, **spec: Any) -> FakeEngine:
    options = build().parse_args(["service", "update", "-d", *words, "web"])
    answers = {
        "GET /services/web": service(**spec),
        "POST /services/web1/update": {},
        "GET /networks/shop": {"Id": "shop1", "Name": "shop"},
        "GET /networks/back": {"Id": "back1", "Name": "back"},
    }
    async with engine(answers) as (fake, client):
        await options.run(client, options)
    return fake


async def sent(*words: str, **spec: Any) -> dict[str, Any]:
    fake = await run(*words, **spec)
    (body,) = fake.bodies("POST /services/web1/update")
    convert_spec(body, ServiceSpec)  # what the daemon does with it
    found: dict[str, Any] = body
    return found


async def test_an_update_names_the_version_that_it_read() -> None:
    fake = await run("--image", "app:2")
    assert fake.queries("POST /services/web1/update") == [{"version": "9"}]


async def test_networks_are_looked_up_in_the_swarm() -> None:
    words = ("--network-add", "name=back,alias=db", "--network-rm", "shop")
    fake = await run(*words, TaskTemplate={"Networks": [{"Target": "shop1"}]})
    (body,) = fake.bodies("POST /services/web1/update")
    assert body["TaskTemplate"]["Networks"] == [{"Target": "back1", "Aliases": ["db"]}]
    assert fake.queries("GET /networks/back") == [{"scope": "swarm"}]


async def test_a_network_that_is_gone_can_still_be_left() -> None:
    body = await sent("--network-rm", "lost1", TaskTemplate={"Networks": [{"Target": "lost1"}]})
    assert body["TaskTemplate"]["Networks"] == []


async def test_networks_move_from_the_place_of_old_versions() -> None:
    body = await sent("--network-add", "back", Networks=[{"Target": "shop1"}])
    assert "Networks" not in body
    assert body["TaskTemplate"]["Networks"] == [{"Target": "shop1"}, {"Target": "back1"}]


async def test_ports_and_endpoint_mode() -> None:
    old = {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080}]}
    body = await sent("--publish-add", "8443:443", "--publish-rm", "80", EndpointSpec=old)
    assert [p["PublishedPort"] for p in body["EndpointSpec"]["Ports"]] == [8443]
    assert (await sent("--endpoint-mode", "dnsrr"))["EndpointSpec"] == {"Mode": "dnsrr"}
    assert "EndpointSpec" not in await sent("--image", "app:2")


async def test_dns_and_hosts() -> None:
    old = {
        "Image": "app:1",
        "Hosts": ["10.0.0.1 db"],
        "DNSConfig": {"Nameservers": ["1.1.1.1"], "Search": ["a.example"]},
    }
    words = (
        "--dns-add 9.9.9.9 --dns-rm 1.1.1.1 --dns-search-rm a.example --dns-option-add ndots:2 --host-rm db"
    )
    body = await sent(*words.split(), "--host-add", "six:fd00::1", TaskTemplate={"ContainerSpec": old})
    container = body["TaskTemplate"]["ContainerSpec"]
    assert container["DNSConfig"] == {"Nameservers": ["9.9.9.9"], "Options": ["ndots:2"]}
    assert container["Hosts"] == ["fd00::1 six"]
    assert "DNSConfig" not in (await sent("--replicas", "2"))["TaskTemplate"]["ContainerSpec"]


async def test_update_settings_keep_what_was_not_typed() -> None:
    body = await sent("--update-delay", "2s", UpdateConfig={"Parallelism": 3, "Order": "start-first"})
    assert body["UpdateConfig"] == {"Parallelism": 3, "Order": "start-first", "Delay": 2 * 10**9}
    assert (await sent("--rollback-order", "stop-first"))["RollbackConfig"] == {
        "Parallelism": 1,
        "Order": "stop-first",
    }


async def test_lists_and_labels() -> None:
    words = "--env-add A=2 --env-rm B --label-add x=y --constraint-add node.role==worker --args run --force"
    container = {"Image": "app:1", "Env": ["A=1", "B=1", "C=1"]}
    body = await sent(*words.split(), TaskTemplate={"ContainerSpec": container}, Labels={"a": "b"})
    assert body["TaskTemplate"]["ContainerSpec"]["Env"] == ["C=1", "A=2"]
    assert body["TaskTemplate"]["ContainerSpec"]["Args"] == ["run"]
    assert body["TaskTemplate"]["ForceUpdate"] == 1
    assert body["TaskTemplate"]["Placement"]["Constraints"] == ["node.role==worker"]
    assert body["Labels"] == {"a": "b", "x": "y"}


async def test_only_replicated_services_have_replicas() -> None:
    with pytest.raises(Invalid, match="not in replicated mode"):
        await sent("--replicas", "2", Mode={"Global": {}})


def test_a_service_for_reading_names_its_networks_and_ports() -> None:
    item = service(
        Labels={"tier": "front"},
        TaskTemplate={
            "Networks": [{"Target": "shop1", "Aliases": ["db"]}, {"Target": "gone1"}],
            "ContainerSpec": {"Image": "app:1", "Hosts": ["10.0.0.1 db"], "DNSConfig": {"Search": ["a.b"]}},
        },
        UpdateConfig={"Parallelism": 1, "Delay": 2_500_000_000},
    ) | {
        "Endpoint": {
            "Spec": {"Mode": "vip"},
            "Ports": [
                {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 30000, "PublishMode": "ingress"}
            ],
            "VirtualIPs": [{"NetworkID": "shop1", "Addr": "10.0.1.2/24"}],
        }
    }
    text = list(lines(item, {"shop1": "shop"}))
    for line in (
        "Name:           web",
        " Replicas:      1",
        " Delay:         2.5s",
        " shop (aliases db)",
        " gone1",
        "Endpoint Mode:  vip",
        " shop 10.0.1.2/24",
        " PublishedPort: 30000",
        "  TargetPort:   80",
        " Hosts:         10.0.0.1 db",
        "  Search:       a.b",
    ):
        assert line in text


async def test_lists_show_ports_and_pretty_looks_networks_up(capsys: pytest.CaptureFixture[str]) -> None:
    port = {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}
    item = service(TaskTemplate={"Networks": [{"Target": "shop1"}, {"Target": "gone1"}]}) | {
        "Endpoint": {"Spec": {"Mode": "vip"}, "Ports": [port]}
    }
    answers = {
        "GET /services": [item],
        "GET /services/web": item,
        "GET /networks/shop1": {"Id": "shop1", "Name": "shop"},
    }
    async with engine(answers) as (_, client):
        for words in (["ls", "--format", "{{.Name}} {{.Ports}}"], ["inspect", "--pretty", "web"]):
            options = build().parse_args(["service", *words])
            await options.run(client, options)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "web *:8080->80/tcp"
    assert " shop" in out
    assert " gone1" in out
