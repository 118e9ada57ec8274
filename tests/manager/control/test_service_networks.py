"""A service's networks and published ports: resolved, kept, compared, and refused where they clash."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from swarmcore.errors import Invalid
from swarmcore.model.endpoint import Endpoint, EndpointSpec, PortConfig, VirtualIP
from swarmcore.model.service import Service
from swarmcore.rpc.messages.control import CreateService, RemoveNetwork
from tests.manager.control.bench import Bench, spec


@pytest.fixture
async def bench() -> Bench:
    bench = await Bench().begin()
    await bench.network("shop")
    await bench.network("bank")
    await bench.network("way-in", Ingress=True)
    return bench


def joining(*names: str, **more: Any) -> dict[str, Any]:
    return {"TaskTemplate": {"Networks": [{"Target": name, **more} for name in names]}}


def published(*ports: tuple[int, str], mode: str = "vip", protocol: str = "tcp") -> dict[str, Any]:
    """(published port, publish mode)."""
    configs = [
        {"TargetPort": 80, "PublishedPort": number, "PublishMode": how, "Protocol": protocol}
        for number, how in ports
    ]
    return {"EndpointSpec": {"Mode": mode, "Ports": configs}}


def targets(service: Service) -> list[str]:
    return [network.target for network in service.spec.task_template.networks]


# -- networks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["shop", "SHOP", "net-shop", "net-s"])
async def test_a_network_is_kept_by_its_id(bench: Bench, text: str) -> None:
    assert targets(await bench.create(**joining(text))) == ["net-shop"]


async def test_the_old_place_of_networks_means_the_same(bench: Bench) -> None:
    held = await bench.create(Networks=[{"Target": "shop"}])
    assert targets(held) == ["net-shop"]
    assert (await bench.update(held, spec("web", **joining("shop")))).spec == held.spec


async def test_names_and_ids_are_the_same_wish(bench: Bench) -> None:
    held = await bench.create(**joining("shop", "bank", Aliases=["db", "_db.local"]))
    again = spec("web", **joining("net-shop", "bank", Aliases=["db", "_db.local"]))
    assert (await bench.update(held, again)).spec == held.spec


async def test_another_network_or_alias_is_a_new_spec_version(bench: Bench) -> None:
    held = await bench.create(**joining("shop"))
    held = await bench.update(held, spec("web", **joining("shop", "bank")))
    assert held.spec_version.index == 2
    assert (
        await bench.update(held, spec("web", **joining("shop", "bank", Aliases=["a"])))
    ).spec_version.index == 3


@pytest.mark.parametrize("name", ["host", "none", "bridge"])
async def test_networks_of_every_host_keep_their_names(bench: Bench, name: str) -> None:
    assert targets(await bench.create(**joining(name))) == [name]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (joining("nowhere"), "network nowhere not found"),
        (joining("net-"), "ambiguous"),
        (joining(""), "network  not found"),
        (joining("way-in"), 'cannot be explicitly attached to the ingress network "way-in"'),
        (joining("shop", "net-shop"), "network net-shop is attached more than once"),
        (joining("shop", "host"), "the network host cannot be combined"),
        (joining("host", "none"), "cannot be combined"),
        (joining("host", Aliases=["a"]), "host has no names"),
        (joining("shop", Aliases=["a b"]), "invalid alias 'a b'"),
        (joining("shop", Aliases=[""]), "invalid alias ''"),
        (joining("shop", Aliases=["a" * 64]), "invalid alias"),
        (joining("shop", DriverOpts={"k": "v"}), "driver options of network shop"),
        (joining("shop") | {"Networks": [{"Target": "bank"}]}, "given twice"),
        (joining("host") | published((80, "ingress")), "cannot publish ports to the routing mesh"),
        (joining("none") | published((80, "host")), "on the network none cannot publish ports"),
    ],
)
async def test_networks_that_cannot_be_joined_are_refused(
    bench: Bench, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        await bench.create(**fields)
    assert len(bench.store.view().services) == 0


async def test_a_service_on_the_hosts_network_tells_of_its_ports(bench: Bench) -> None:
    await bench.create(**joining("host"), **published((80, "host")))


async def test_a_rollback_to_a_network_that_is_gone_is_refused(bench: Bench) -> None:
    held = await bench.create(**joining("shop"))
    held = await bench.update(held, spec("web", **joining("bank")))
    await bench.control.carry_out(RemoveNetwork(id="shop"))
    with pytest.raises(Invalid, match="network net-shop not found"):
        await bench.update(held, None, rollback=True)


async def test_a_rollback_brings_the_networks_back(bench: Bench) -> None:
    held = await bench.create(**joining("shop"))
    held = await bench.update(held, spec("web", **joining("bank")))
    assert targets(await bench.update(held, None, rollback=True)) == ["net-shop"]


# -- ports -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (published((70000, "ingress")), "invalid port 70000:80"),
        ({"EndpointSpec": {"Ports": [{"TargetPort": 0}]}}, "invalid port 0:0"),
        ({"EndpointSpec": {"Ports": [{"TargetPort": 65536}]}}, "invalid port 0:65536"),
        (published((80, "ingress"), mode="dnsrr"), "ingress mode can't be used with dnsrr mode"),
        (published((80, "ingress"), (80, "ingress")), "duplicate published port 80/tcp"),
        (published((80, "ingress"), (80, "host")), "duplicate published port 80/tcp"),
    ],
)
async def test_ports_that_make_no_sense_are_refused(bench: Bench, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        await bench.create(**fields)


async def test_ports_that_the_swarm_shall_choose_are_no_duplicates(bench: Bench) -> None:
    await bench.create(**published((0, "ingress"), (0, "ingress"), (80, "ingress")))
    await bench.create("api", **published((0, "ingress")))
    await bench.create("rr", **published((81, "host"), mode="dnsrr"))


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (
            "ingress",
            "ingress",
            r"port '8080' is already in use by service 'web' \(id-web\) as an ingress port",
        ),
        ("ingress", "host", r"port '8080' is already in use by service 'web' \(id-web\) as an ingress port"),
        (
            "host",
            "ingress",
            r"port '8080' is already in use by service 'web' \(id-web\) as a host-published port",
        ),
    ],
)
async def test_a_port_of_the_mesh_belongs_to_one_service(
    bench: Bench, first: str, second: str, words: str
) -> None:
    await bench.create("web", **published((8080, first)))
    with pytest.raises(Invalid, match=words):
        await bench.create("api", **published((8080, second)))
    held = await bench.create("api", **published((8081, second)))
    with pytest.raises(Invalid, match=words):
        await bench.update(held, spec("api", **published((8080, second))))
    await bench.create("dns", **published((8080, second), protocol="udp"))


@pytest.mark.parametrize("mode", ["ingress", "host"])
async def test_the_data_path_port_is_the_hosts_own(bench: Bench, mode: str) -> None:
    with pytest.raises(Invalid, match="port '4789/udp' is the data path port"):
        await bench.create("web", **published((4789, mode), protocol="udp"))
    await bench.create("web", **published((4789, mode)))


async def test_ports_of_hosts_are_the_schedulers_to_keep_apart(bench: Bench) -> None:
    await bench.create("web", **published((8080, "host")))
    await bench.create("api", **published((8080, "host")))


async def test_a_port_that_the_swarm_chose_is_taken_as_well(bench: Bench) -> None:
    held = await bench.create("web", **published((0, "ingress")))
    chosen = PortConfig(target_port=80, published_port=30000)
    await give(bench, held, Endpoint(spec=held.spec.endpoint_spec or EndpointSpec(), ports=(chosen,)))
    with pytest.raises(Invalid, match="port '30000' is already in use by service 'web'"):
        await bench.create("api", **published((30000, "ingress")))


async def test_a_service_keeps_its_own_ports_at_an_update(bench: Bench) -> None:
    held = await bench.create("web", **published((8080, "ingress")))
    await bench.update(held, spec("web", image="app:2", **published((8080, "ingress"))))


async def give(bench: Bench, held: Service, endpoint: Endpoint) -> Service:
    async with bench.store.update() as tx:
        tx.services.put(replace(held, endpoint=endpoint))
    return bench.service(held.spec.name)


async def test_an_update_keeps_what_the_allocator_gave(bench: Bench) -> None:
    held = await bench.create(**joining("shop"), **published((8080, "ingress")))
    endpoint = Endpoint(
        spec=held.spec.endpoint_spec or EndpointSpec(),
        ports=(PortConfig(target_port=80, published_port=8080),),
        virtual_ips=(VirtualIP(network_id="net-shop", addr="10.0.1.2/24"),),
    )
    held = await give(bench, held, endpoint)
    held = await bench.update(
        held, spec("web", image="app:2", **joining("bank"), **published((8081, "host")))
    )
    assert held.endpoint == endpoint
    assert (await bench.update(held, None, rollback=True)).endpoint == endpoint


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        (published(), published((80, "ingress")), True),
        (published((80, "ingress")), published((81, "ingress")), False),
        (published((80, "ingress")), published(), False),
        (published(), published(mode="dnsrr"), False),
        (published((80, "host")), published((81, "host")), True),
        (published((80, "ingress")), published((80, "host")), True),
    ],
)
async def test_tasks_are_replaced_only_for_ports_that_reach_into_them(
    bench: Bench, before: dict[str, Any], after: dict[str, Any], counts: bool
) -> None:
    held = await bench.create(**before)
    changed = await bench.update(held, spec("web", **after))
    assert changed.spec != held.spec
    assert changed.spec_version.index == (2 if counts else 1)
    assert changed.previous_spec == held.spec


async def test_asking_twice_for_a_service_with_ports_creates_once(bench: Bench) -> None:
    request = CreateService(id="x", spec=spec("web", **published((8080, "ingress")), **joining("shop")))
    assert (await bench.control.carry_out(request)).id == (await bench.control.carry_out(request)).id == "x"
