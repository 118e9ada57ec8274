"""Peers: what a table asks for, and that the plan leads there from anywhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netoverlay.overlays.fdb import Changes, Entry, Peers, Place, plan, vnis, wanted_peers
from swarmcore.model.overlay import (
    NetworkTable,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayNode,
    OverlaySubnet,
)

VTEPS = ("172.30.0.1", "172.30.0.2", "172.30.0.3")
devices = st.sampled_from([4096, 4097])
macs = st.sampled_from([f"02:00:00:00:00:0{digit}" for digit in range(4)])
places = st.builds(
    Place, devices, st.sampled_from([f"10.0.0.{n}" for n in range(4)] + ["fd00::1", "fd00::2"])
)
foreign = st.builds(
    Entry,
    devices,
    st.one_of(macs, st.just("00:00:00:00:00:00")),
    st.sampled_from(VTEPS),
    st.sampled_from([0, 0, 0, 4790]),
    st.sampled_from([0, 0, 0, 77]),
    st.just(0),
    st.booleans(),
)


@st.composite
def wanted_states(draw: st.DrawFn) -> Peers:
    chosen = draw(st.dictionaries(st.tuples(devices, macs), st.sampled_from(VTEPS)))
    return Peers(
        neighbours=draw(st.dictionaries(places, macs)),
        entries=frozenset(Entry(device, mac, vtep) for (device, mac), vtep in chosen.items()),
    )


class FakeKernel:
    """Neighbours, and forwarding entries as vxlan_core.c keeps them: an ordered list of destinations per MAC."""

    def __init__(self, state: Peers) -> None:
        self.neighbours = dict(state.neighbours)
        self.entries: dict[tuple[int, str], list[Entry]] = {}
        for entry in sorted(state.entries):
            self.entries.setdefault((entry.device, entry.mac), []).append(entry)
        for held in self.entries.values():
            # Whether it expires is one mark for all destinations of a MAC.
            held[:] = dict.fromkeys(each._replace(permanent=held[0].permanent) for each in held)
        self.touched: list[Place | Entry] = []

    def state(self) -> Peers:
        return Peers(
            neighbours=dict(self.neighbours),
            entries=frozenset(entry for held in self.entries.values() for entry in held),
        )

    def carry_out(self, changes: Changes) -> None:
        for place, mac in changes.set_neighbours:
            self.touched.append(place)
            self.neighbours[place] = mac
        for entry in changes.set_entries:
            self._replace(entry)
        for place in changes.delete_neighbours:
            self.touched.append(place)
            del self.neighbours[place]
        for entry in changes.delete_entries:
            self._delete(entry)

    def _replace(self, entry: Entry) -> None:
        self.touched.append(entry)
        held = self.entries.setdefault((entry.device, entry.mac), [])
        if entry not in [each._replace(permanent=True) for each in held]:
            held[:1] = [entry]
        held[:] = [each._replace(permanent=True) for each in held]

    def _delete(self, entry: Entry) -> None:
        self.touched.append(entry)
        held = self.entries.get((entry.device, entry.mac), [])
        held[:] = [each for each in held if each[:-1] != entry[:-1]]


@given(wanted_states(), st.dictionaries(places, st.one_of(macs, st.just(""))), st.frozensets(foreign))
def test_any_state_of_the_kernel_converges_at_once_and_what_agrees_is_not_touched(
    wanted: Peers, neighbours: dict[Place, str], entries: frozenset[Entry]
) -> None:
    kernel = FakeKernel(Peers(neighbours=neighbours, entries=entries))
    before = kernel.state()
    changes = plan(wanted, before)
    kernel.carry_out(changes)
    assert kernel.state() == wanted
    agreed = {place for place, mac in wanted.neighbours.items() if before.neighbours.get(place) == mac}
    assert not agreed & set(kernel.touched)
    assert not (wanted.entries & before.entries) & set(kernel.touched)
    assert (changes.differences == 0) == (before == wanted)
    assert plan(wanted, kernel.state()).differences == 0


@given(wanted_states())
def test_a_wrong_destination_is_one_difference(wanted: Peers) -> None:
    moved = Peers(
        neighbours=wanted.neighbours,
        entries=frozenset(each._replace(vtep="192.0.2.9") for each in wanted.entries),
    )
    assert plan(wanted, moved).differences == len(wanted.entries)


def endpoint(name: str, node: str, *addresses: str, active: bool = True) -> OverlayEndpoint:
    mac = f"02:00:00:00:00:{int(name):02X}"
    return OverlayEndpoint(id=name, node_id=node, name=name, addresses=addresses, mac=mac, active=active)


def one_table(*endpoints: OverlayEndpoint, subnets: tuple[tuple[str, int], ...] = ()) -> NetworkTable:
    return NetworkTable(
        network=OverlayNetwork(
            id="n",
            name="n",
            subnets=tuple(
                OverlaySubnet(subnet=cidr, gateway="", vni=vni)
                for cidr, vni in subnets or (("10.0.0.0/24", 4096), ("fd00::/64", 4096))
            ),
        ),
        nodes={
            "a": OverlayNode(id="a", vtep="172.30.0.1"),
            "b": OverlayNode(id="b", vtep="172.30.0.2"),
            "six": OverlayNode(id="six", vtep="fd30::6"),
            "new": OverlayNode(id="new", vtep=""),
        },
        endpoints={each.id: each for each in endpoints},
    )


def test_only_endpoints_of_other_hosts_have_entries_draining_ones_too() -> None:
    table = one_table(
        endpoint("1", "a", "10.0.0.5"),
        endpoint("2", "b", "10.0.0.6", "fd00:0::6", active=False),
    )
    peers = wanted_peers(table, "a", "172.30.0.1")
    assert peers.neighbours == {
        Place(4096, "10.0.0.6"): "02:00:00:00:00:02",
        Place(4096, "fd00::6"): "02:00:00:00:00:02",
    }
    assert peers.entries == {Entry(4096, "02:00:00:00:00:02", "172.30.0.2")}


def test_hosts_that_cannot_be_reached_from_here_have_no_entries() -> None:
    table = one_table(
        endpoint("1", "six", "10.0.0.5"), endpoint("2", "new", "10.0.0.6"), endpoint("3", "gone", "10.0.0.7")
    )
    assert wanted_peers(table, "a", "172.30.0.1") == Peers()


def test_of_two_endpoints_with_one_address_the_active_one_is_asked() -> None:
    table = one_table(
        endpoint("1", "b", "10.0.0.5"),
        endpoint("2", "b", "10.0.0.5", active=False),
    )
    assert wanted_peers(table, "a", "172.30.0.1").neighbours == {Place(4096, "10.0.0.5"): "02:00:00:00:00:01"}


def test_each_subnet_answers_on_its_own_device_and_every_device_knows_the_way() -> None:
    table = one_table(
        endpoint("1", "b", "10.0.0.5"),
        endpoint("2", "b", "10.0.1.5", "fd01::5"),
        endpoint("3", "b", "192.0.2.1"),
        subnets=(("10.0.0.0/24", 7), ("10.0.1.0/24", 8), ("fd00::/64", 7), ("fd01::/64", 8)),
    )
    peers = wanted_peers(table, "a", "172.30.0.1")
    assert vnis(table) == (7, 8)
    assert set(peers.neighbours) == {Place(7, "10.0.0.5"), Place(8, "10.0.1.5"), Place(8, "fd01::5")}
    assert {(each.device, each.mac[-1]) for each in peers.entries} == {
        (device, mac) for device in (7, 8) for mac in "123"
    }
