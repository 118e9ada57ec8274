"""This host's own networks: kept, given subnets and addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from netoverlay.containers.sandboxes import HostSegment, SandboxSpec
from swarmcore.errors import Conflict, FailedPrecondition, Invalid, NotFound
from swarmcore.model.network import ConfigSource
from swarmcore.model.overlay import OverlayNetwork
from tests.fakes.raft import StepClock
from worker.networks.host_networks import HostNetworks, segment_of
from worker.networks.local_networks import IPAM, AddressPool, NetworkRequest


class Devices:
    """Remembers what was made; refuses a parent that is not there."""

    def __init__(self) -> None:
        self.made: dict[str, HostSegment] = {}

    async def make_segment(self, segment: HostSegment) -> None:
        if segment.options.get("parent") == "nowhere":
            raise FailedPrecondition("this host has no device 'nowhere' (option parent)")
        self.made[segment.id] = segment

    async def remove_segment(self, segment: HostSegment) -> None:
        self.made.pop(segment.id, None)


def networks(folder: Path, devices: Devices | None = None) -> HostNetworks:
    made = HostNetworks(
        folder / "networks.json", devices or Devices(), StepClock(), lambda: ["172.18.0.0/16"]
    )
    made.load()
    return made


async def test_a_network_gets_a_subnet_that_nobody_uses_and_is_kept(tmp_path: Path) -> None:
    devices = Devices()
    kept = networks(tmp_path, devices)
    first = await kept.create(NetworkRequest(name="back"))
    second = await kept.create(NetworkRequest(name="front", driver="bridge"))
    assert [n.pools[0].subnet for n in (first, second)] == ["172.19.0.0/16", "172.20.0.0/16"]
    assert first.pools[0].gateway == "172.19.0.1"
    assert devices.made.keys() == {first.id, second.id}
    again = networks(tmp_path)
    assert [n.wanted.name for n in again.list()] == ["back", "front"]
    await again.remove(first.id)
    assert [n.wanted.name for n in networks(tmp_path).list()] == ["front"]


@pytest.mark.parametrize("name", ["my net", " x", "a/b", "-", "ä", "x" * 255])
async def test_docker_s_names_of_a_host_s_networks_are_taken(tmp_path: Path, name: str) -> None:
    kept = networks(tmp_path)
    await kept.create(NetworkRequest(name=name))
    assert [network.wanted.name for network in networks(tmp_path).list()] == [name]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\0", "x" * 256])
async def test_names_that_nobody_could_read_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="invalid network name"):
        await networks(tmp_path).create(NetworkRequest(name=name))


async def test_what_cannot_be_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    kept = networks(tmp_path)
    await kept.create(NetworkRequest(name="back"))
    wrong = (
        (Conflict, "already exists", NetworkRequest(name="back")),
        (Invalid, "unknown network driver", NetworkRequest(name="x", driver="magic")),
        (Invalid, "invalid subnet", NetworkRequest(name="x", ipam=pool("10.0.0.0/33"))),
        (Invalid, "contain this address", NetworkRequest(name="x", ipam=pool("10.9.0.0/24", "10.8.0.1"))),
        (Conflict, "overlaps", NetworkRequest(name="x", ipam=pool("172.19.4.0/24"))),
        (
            NotFound,
            "configuration network none",
            NetworkRequest(name="x", config_from=ConfigSource(network="none")),
        ),
        (
            FailedPrecondition,
            "nowhere",
            NetworkRequest(name="x", driver="macvlan", options={"parent": "nowhere"}),
        ),
    )
    for kind, text, request in wrong:
        with pytest.raises(kind, match=text):
            await kept.create(request)
    assert [n.wanted.name for n in kept.list()] == ["back"]


def pool(subnet: str, gateway: str = "", within: str = "") -> IPAM:
    return IPAM(config=(AddressPool(subnet=subnet, gateway=gateway, ip_range=within),))


async def test_a_network_is_made_from_a_configuration_which_then_stays(tmp_path: Path) -> None:
    kept = networks(tmp_path)
    settings = await kept.create(
        NetworkRequest(
            name="lan-config", config_only=True, ipam=pool("10.9.0.0/24"), options={"parent": "eth0"}
        )
    )
    lan = await kept.create(
        NetworkRequest(name="lan", driver="macvlan", config_from=ConfigSource(network="lan-config"))
    )
    assert segment_of(lan).options == {"parent": "eth0"}
    assert lan.pools[0].subnet == "10.9.0.0/24"
    with pytest.raises(FailedPrecondition, match="in use by lan"):
        await kept.remove(settings.id)
    swarm = kept.of_swarm(OverlayNetwork(id="n1", name="wire", driver="macvlan", config_from="lan-config"))
    assert (swarm.subnets, swarm.options["parent"]) == (("10.9.0.0/24",), "eth0")


@pytest.mark.parametrize("where", ["labels", "options"])
async def test_containers_of_a_network_may_be_free_to_use_other_addresses(tmp_path: Path, where: str) -> None:
    def request(name: str, antispoof: str) -> NetworkRequest:
        return replace(NetworkRequest(name=name), **{where: {"pyswarm.antispoof": antispoof}})

    kept = networks(tmp_path)
    free = await kept.create(request("vrrp", "off"))
    bound = await kept.create(request("back", "on"))
    joins = [kept.make_join(segment_of(each), "c1", "web", "eth0") for each in (free, bound)]
    assert [join.antispoof for join in joins] == [False, True]
    with pytest.raises(Invalid, match=r"pyswarm\.antispoof='none'"):
        await kept.create(request("x", "none"))


async def test_addresses_are_given_once_and_come_back(tmp_path: Path) -> None:
    kept = networks(tmp_path)
    made = await kept.create(NetworkRequest(name="small", ipam=pool("10.9.0.0/24", within="10.9.0.8/30")))
    segment = segment_of(made)
    taken = [kept.make_join(segment, f"c{n}", f"web{n}", "eth0") for n in range(4)]
    assert len({join.addresses for join in taken}) == 4
    assert all(join.addresses[0].startswith("10.9.0.") for join in taken)
    with pytest.raises(FailedPrecondition, match="no address is left on network small"):
        kept.make_join(segment, "c9", "late", "eth0")
    with pytest.raises(FailedPrecondition, match="active endpoints: web0, web1, web2, web3"):
        await kept.remove(made.id)
    kept.give_back(taken[0], "c0")
    assert kept.make_join(segment, "c9", "late", "eth0").addresses == taken[0].addresses


async def test_a_restarted_daemon_gives_no_address_that_a_container_has(tmp_path: Path) -> None:
    kept = networks(tmp_path)
    made = await kept.create(NetworkRequest(name="back"))
    join = kept.make_join(segment_of(made), "c1", "web", "eth0")
    again = networks(tmp_path)
    again.adopt([SandboxSpec(id="c1", task_id="t1", host_joins=(join,))], {"c1": "web"})
    assert again.make_join(segment_of(made), "c2", "api", "eth0").addresses != join.addresses
    assert again.list()[0].containers.keys() == {"c1", "c2"}


async def test_a_damaged_list_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "networks.json").write_text("{")
    assert networks(tmp_path).list() == []
    assert (tmp_path / "networks.damaged").exists()


@pytest.mark.parametrize(
    ("routes", "subnet"),
    [
        (("172.19.4.0/24", "172.20.0.0/15"), "172.22.0.0/16"),
        (("172.16.0.0/12",), "192.168.0.0/20"),
        (("172.16.0.0/12", "192.168.0.0/16"), "172.19.0.0/16"),  # they are but directions
        (("172.16.0.0/12", "192.168.0.0/16", "172.19.1.0/24"), "172.20.0.0/16"),
    ],
)
async def test_a_subnet_is_chosen_around_the_hosts_routes(
    tmp_path: Path, routes: tuple[str, ...], subnet: str
) -> None:
    kept = HostNetworks(
        tmp_path / "n.json", Devices(), StepClock(), lambda: ["172.18.0.0/16"], lambda: routes
    )
    assert (await kept.create(NetworkRequest(name="back"))).pools[0].subnet == subnet


SUBNET = "10.9.0.0/24"


@pytest.mark.parametrize("config_only", [False, True])
@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (AddressPool(subnet=SUBNET, ip_range="nonsense"), "invalid ip-range nonsense"),
        (AddressPool(subnet=SUBNET, ip_range="10.8.0.0/25"), "doesn't contain ip-range"),
        (AddressPool(subnet=SUBNET, ip_range="10.0.0.0/8"), "doesn't contain ip-range"),
        (AddressPool(subnet=SUBNET, ip_range="10.9.0.7/25"), "it should be 10.9.0.0/25"),
        (AddressPool(subnet=SUBNET, ip_range="fd00::/64"), "doesn't contain ip-range"),
        (AddressPool(subnet=SUBNET, gateway="nonsense"), "invalid gateway"),
        (AddressPool(subnet=SUBNET, auxiliary_addresses={"a": "nonsense"}), "invalid auxiliary address"),
        (AddressPool(subnet=SUBNET, auxiliary_addresses={"a": "10.8.0.1"}), "contain this address"),
        (AddressPool(subnet=SUBNET, auxiliary_addresses={"a": "10.9.0.0"}), "stands for the subnet"),
        (
            AddressPool(subnet=SUBNET, gateway="10.9.0.9", auxiliary_addresses={"a": "10.9.0.9"}),
            "is the gateway",
        ),
        (AddressPool(ip_range="10.9.0.0/25"), "need their subnet"),
        (AddressPool(gateway="10.9.0.1"), "need their subnet"),
    ],
)
async def test_nonsense_about_addresses_is_refused_before_it_is_stored(
    tmp_path: Path, wanted: AddressPool, words: str, config_only: bool
) -> None:
    kept = networks(tmp_path)
    request = NetworkRequest(name="x", config_only=config_only, ipam=IPAM(config=(wanted,)))
    with pytest.raises(Invalid, match=words):
        await kept.create(request)
    assert kept.list() == []


async def test_the_gateway_is_an_address_that_nobody_keeps_for_himself(tmp_path: Path) -> None:
    wanted = AddressPool(subnet=SUBNET, auxiliary_addresses={"router": "10.9.0.1", "printer": "10.9.0.2"})
    made = await networks(tmp_path).create(NetworkRequest(name="x", ipam=IPAM(config=(wanted,))))
    assert made.pools[0].gateway == "10.9.0.3"


async def test_a_pool_that_says_nothing_is_ours_to_choose(tmp_path: Path) -> None:
    made = await networks(tmp_path).create(NetworkRequest(name="x", ipam=IPAM(config=(AddressPool(),))))
    assert [each.subnet for each in made.pools] == ["172.19.0.0/16"]


async def test_wishes_are_met_whole_or_nothing_is_taken(tmp_path: Path) -> None:
    kept = networks(tmp_path)
    pools = (AddressPool(subnet="10.9.0.0/29"), AddressPool(subnet="fd09::/64"))
    made = await kept.create(NetworkRequest(name="x", enable_ipv6=True, ipam=IPAM(config=pools)))
    segment = segment_of(made)
    first = kept.make_join(segment, "c1", "one", "eth0", ["fd09::7", "10.9.0.3"])
    assert first.addresses == ("10.9.0.3/29", "fd09::7/64")
    wrong = (
        (FailedPrecondition, "fd09::7 is already in use", ["10.9.0.4", "fd09::7"]),
        (FailedPrecondition, "10.9.0.3 is already in use", ["10.9.0.3", "fd09::8"]),
        (Invalid, "does not give out 10.8.0.1", ["10.8.0.1", "fd09::8"]),
        (Invalid, "does not give out 10.9.0.1", ["10.9.0.1"]),  # the gateway's
        (Invalid, "does not give out nonsense", ["nonsense"]),
        (Invalid, "of the same subnet", ["10.9.0.4", "10.9.0.5"]),
    )
    for kind, words, wishes in wrong:
        with pytest.raises(kind, match=words):
            kept.make_join(segment, "c2", "two", "eth0", wishes)
    # Four are left of the small subnet; of the other one nothing was lost.
    rest = [kept.make_join(segment, f"d{n}", f"d{n}", "eth0") for n in range(4)]
    assert sorted(join.addresses[0] for join in rest) == [f"10.9.0.{n}/29" for n in (2, 4, 5, 6)]
    assert [join.addresses[1] for join in rest] == [f"fd09::{n}/64" for n in (2, 3, 4, 5)]
    with pytest.raises(FailedPrecondition, match="no address is left"):
        kept.make_join(segment, "late", "late", "eth0", ["fd09::8"])
    kept.give_back(first, "c1")
    assert kept.make_join(segment, "late", "late", "eth0", ["fd09::8"]).addresses == (
        "10.9.0.3/29",
        "fd09::8/64",
    )


async def test_what_an_earlier_release_stored_is_told_of(tmp_path: Path) -> None:
    kept = networks(tmp_path)
    made = await kept.create(NetworkRequest(name="x", ipam=pool(SUBNET)))
    segment = replace(segment_of(made), ranges=("nonsense",))
    with pytest.raises(FailedPrecondition, match="network x of this host makes no sense"):
        kept.make_join(segment, "c1", "one", "eth0")


async def test_a_network_of_the_swarm_keeps_the_subnet_that_was_chosen_for_it(tmp_path: Path) -> None:
    kept = networks(tmp_path)
    wire = OverlayNetwork(id="n1", name="wire", driver="bridge")
    first = kept.of_swarm(wire)
    made = await kept.create(NetworkRequest(name="other"))
    assert made.pools[0].subnet != first.subnets[0]
    assert kept.of_swarm(wire) == first
    join = kept.make_join(first, "c1", "one", "eth0")
    again = networks(tmp_path)
    again.adopt([SandboxSpec(id="c1", task_id="t1", host_joins=(join,))], {})
    assert again.of_swarm(wire).subnets == first.subnets
