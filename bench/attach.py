"""What one host's networking costs in process: containers and networks that come, endpoints that change.

    python -m bench.attach [--containers 60] [--rounds 5]

It starts itself anew in a network and a mount namespace of its own: whatever it makes goes with the process, however
that ends. Beside each figure is the plain thing: the same devices by `ip` and `nft` processes, or by bare netlink.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from msgspec.structs import replace

from bench import samples
from bench.samples import FAR_VTEP, HERE, VTEP, address
from bench.timing import Times, by_process, head
from netoverlay.containers.sandboxes import SandboxSpec
from netoverlay.containers.vip import balancing
from netoverlay.containers.vip_rules import ContainerRules
from netoverlay.dns.server import DnsServer
from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.links import Bridge, Veth
from netoverlay.netns import Namespace, Namespaces
from netoverlay.wiring.wiring import Wiring
from swarmcore.model.overlay import (
    NetworkTable,
    OverlayEndpoint,
    OverlayNetwork,
)

_SIZES = (10, 100, 1000)
_HOSTS = (1, 100)  # containers on the host while endpoints change
_scratch = "PYSWARM_BENCH_SCRATCH"


class Bench:
    def __init__(self, directory: Path, containers: int, rounds: int) -> None:
        self._containers, self._rounds = containers, rounds
        self._plain = Namespaces(directory / "plain")
        self._wiring = Wiring(directory / "netns")
        self._dns = DnsServer(Random(1))
        self._revision = 1

    async def run(self) -> None:
        self._wiring.enter_from_this_thread()  # as the product's thread does
        self._plain.enter_from_this_thread()
        home = self._plain.home
        batch = RouteBatch()
        batch.make_link(Veth("up0", "up1", up=True))
        home.route.commit(batch)
        link = home.route.link("up0")
        assert link is not None
        batch = RouteBatch()
        batch.put_address(link.index, f"{VTEP}/24")
        home.route.commit(batch)
        await self._dns.open()
        try:
            self._attach()
            self._networks()
            self._endpoints()
            self._peers()
        finally:
            await self._dns.close()
            self._wiring.close()
            self._plain.close()

    # -- containers --------------------------------------------------------------------------------
    def _come(self, spec: SandboxSpec, tables: dict[str, NetworkTable]) -> None:
        namespace = self._wiring.attach(spec, tables)
        self._wiring.serve(spec, self._dns.add(spec, namespace, spec.hostname))

    def _go(self, spec: SandboxSpec) -> None:
        self._dns.remove(spec.id)
        self._wiring.release(spec)

    def _apply(self, tables: dict[str, NetworkTable]) -> None:
        self._dns.follow(tables)
        self._wiring.follow(tables, HERE, VTEP)

    def _attach(self) -> None:
        network = samples.network(0)
        tables = {
            network.id: samples.table(network, samples.remote(network, 10)),
            "ingress": samples.ingress(),
        }
        self._apply(tables)
        overlay = self._plain.create("plain-overlay")
        batch = RouteBatch()
        batch.make_link(Bridge("br0", mtu=1450))
        overlay.route.commit(batch)
        kinds: dict[str, Callable[[int], SandboxSpec]] = {
            "one network and the way out": lambda number: samples.spec(number, network),
            "one network, internal": lambda number: samples.spec(number, network, gateway=False),
            "no network, only the way out": lambda number: samples.spec(number),
        }
        times = {name: Times() for name in (*kinds, "bare", "processes")}
        stays = samples.spec(0, network)
        self._come(stays, tables)  # the network itself is measured elsewhere
        held: list[SandboxSpec] = [stays]
        for number in range(1, self._containers + 1):  # in turns: what else the machine does hits all alike
            for name, make in kinds.items():
                spec = make(number * 3 + len(held) % 3)
                with times[name].taken():
                    self._come(spec, tables)
                held.append(spec)
            with times["bare"].taken():
                self._bare(overlay, number)
            with times["processes"].taken():
                self._by_processes(overlay, number)
        head("one more container", "bare netlink")
        plain = times["bare"].median
        for name, each in times.items():
            title = {
                "bare": "bare netlink: namespace, wire, address",
                "processes": "`ip` and `nft` processes",
            }
            each.row(title.get(name, name), plain)
        leaving = Times()
        for spec in held:
            with leaving.taken():
                self._go(spec)
        leaving.row("a container goes", plain)

    def _bare(self, overlay: Namespace, number: int) -> None:
        """The least that makes a namespace with an interface: nothing is checked, named, balanced or protected."""
        box = self._plain.create(f"bare{number}")
        bridge = overlay.route.link("br0")
        assert bridge is not None
        batch = RouteBatch()
        batch.make_link(
            Veth(
                f"b{number}",
                "eth0",
                peer_netns_fd=box.fd,
                peer_mac="",
                mtu=1450,
                master=bridge.index,
                up=True,
            )
        )
        overlay.route.commit(batch)
        link = box.route.link("eth0")
        assert link is not None
        batch = RouteBatch()
        batch.change_link(link.index, up=True)
        batch.put_address(link.index, f"{address(number)}/16")
        box.route.commit(batch)

    def _by_processes(self, overlay: Namespace, number: int) -> None:
        box = self._plain.create(f"proc{number}")
        wire = f"link add p{number} mtu 1450 master br0 type veth peer name eth0 netns {box.path}\n"
        wire += f"link set p{number} up\n"
        by_process(overlay, ["ip", "-batch", "-"], wire)
        by_process(
            box, ["ip", "-batch", "-"], f"address add {address(number)}/16 dev eth0\nlink set eth0 up\n"
        )
        by_process(box, ["nft", "-f", "-"], _DNS_RULES)

    # -- networks ----------------------------------------------------------------------------------
    def _networks(self) -> None:
        """The first container of a network makes its devices, the second does not: the difference is the network."""
        first, second, alone, processes = Times(), Times(), Times(), Times()
        held: list[SandboxSpec] = []
        ingress = samples.ingress()
        for number in range(1, 16):
            network = samples.network(number)
            tables = {network.id: samples.table(network, samples.remote(network, 10)), "ingress": ingress}
            self._apply(tables)
            for times in (first, second):
                spec = samples.spec(len(held), network, gateway=False)
                with times.taken():
                    self._come(spec, tables)
                held.append(spec)
            alone.wall.append(first.wall[-1] - second.wall[-1])
            alone.cpu.append(first.cpu[-1] - second.cpu[-1])
            with processes.taken():
                made = self._plain.create(f"net{number}")
                by_process(self._plain.home, ["ip", "-batch", "-"], _vxlan(number, made.path))
                by_process(made, ["ip", "-batch", "-"], _bridge(number))
        head("one more network", "`ip` processes")
        first.row("first container of a network", processes.median)
        second.row("second container of it", processes.median)
        alone.row("the network (the difference)", processes.median)
        processes.row("`ip` processes: namespace, VXLAN, bridge", processes.median)
        for spec in held:
            self._go(spec)

    # -- endpoints ---------------------------------------------------------------------------------
    def _endpoints(self) -> None:
        """One endpoint of a service leaves, and comes back."""
        network, ingress = samples.network(30), samples.ingress()
        box = self._plain.create("nft")
        head("one endpoint comes or goes", "`nft` processes")
        held: list[SandboxSpec] = []
        for containers in _HOSTS:
            tables = {network.id: samples.table(network), "ingress": ingress}
            self._apply(tables)
            while len(held) < containers:
                held.append(samples.spec(len(held), network))
                self._come(held[-1], tables)
            for size in _SIZES:
                all_of_them = samples.remote(network, size)
                self._toggle(network, ingress, all_of_them)  # brings them all in, unmeasured
                product, plain, rules = Times(), Times(), Times()
                for turn in range(2 * self._rounds):
                    few = all_of_them[:-1] if turn % 2 == 0 else all_of_them
                    with product.taken():
                        self._toggle(network, ingress, few)
                    with plain.taken():
                        by_process(box, ["nft", "-f", "-"], _service_rules(few))
                product.row(
                    f"{size} endpoints, {containers} container{'s' * (containers > 1)}",
                    plain.median * containers,
                )
                if containers == _HOSTS[-1]:
                    self._with_flows(held, network, ingress, all_of_them, plain.median * containers)
                if containers == _HOSTS[0]:
                    self._rules_alone(network, all_of_them, rules)
                    rules.row(f"{size} endpoints, the rules of one container alone", plain.median)
                    plain.row(f"{size} endpoints, `nft -f` in one namespace", plain.median)
        for spec in held:
            self._go(spec)

    def _with_flows(
        self,
        held: Sequence[SandboxSpec],
        network: OverlayNetwork,
        ingress: NetworkTable,
        endpoints: Sequence[OverlayEndpoint],
        plain: float,
    ) -> None:
        """The same, while every container has balanced flows: to one of the others, or also to the one that goes."""
        vip = next(iter(samples.table(network).services.values())).vips[0]
        for name, met in (("to others", endpoints[0]), ("to it", endpoints[-1])):
            update, after = Times(), Times()
            for turn in range(2 * self._rounds):
                if turn % 2 == 0:
                    self._toggle(network, ingress, [met])
                    for spec in held:
                        self._ask(spec, vip)
                self._toggle(network, ingress, endpoints)
                with update.taken():
                    self._toggle(network, ingress, [each for each in endpoints if each is not endpoints[-1]])
                with after.taken():
                    while self._wiring.forget_some():
                        pass
            title = f"{len(endpoints)} endpoints, {len(held)} containers with flows {name}"
            update.row(f"{title}: update", plain)
            after.row(f"{title}: behind it", plain)

    def _ask(self, spec: SandboxSpec, vip: str) -> None:
        namespace = self._wiring.namespace(spec.id)
        assert namespace is not None
        with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.sendto(b"?", (vip, 8000))

    def _toggle(
        self, network: OverlayNetwork, ingress: NetworkTable, endpoints: Sequence[OverlayEndpoint]
    ) -> None:
        self._revision += 1
        self._apply({network.id: samples.table(network, endpoints, self._revision), "ingress": ingress})

    def _rules_alone(
        self, network: OverlayNetwork, endpoints: Sequence[OverlayEndpoint], times: Times
    ) -> None:
        name = f"rules{len(endpoints)}"
        rules = ContainerRules(self._plain.create(name), 15_353)
        rules.install()
        for turn in range(2 * self._rounds + 1):
            self._revision += 1
            few = endpoints[:-1] if turn % 2 == 0 else endpoints
            value = balancing({network.id: samples.table(network, few, self._revision)}, [network.id])
            if turn:
                with times.taken():
                    rules.balance(value)
            else:
                rules.balance(value)
        self._plain.remove(name)

    # -- peers -------------------------------------------------------------------------------------
    def _peers(self) -> None:
        """A thousand containers on other hosts become known to this one, all at once."""
        product, processes = Times(), Times()
        for number in range(self._rounds):
            network, ingress = samples.network(40 + number), samples.ingress()
            tables = {network.id: samples.table(network), "ingress": ingress}
            self._apply(tables)
            spec = samples.spec(1, network)
            self._come(spec, tables)
            peers = samples.remote(network, 1000)
            # Inactive: nobody balances to them, so that only ways to them are made.
            idle = [replace(each, active=False) for each in peers]
            with product.taken():
                self._toggle(network, ingress, idle)
            made = self._plain.create(f"peers{number}")
            by_process(self._plain.home, ["ip", "-batch", "-"], _vxlan(100 + number, made.path))
            by_process(made, ["ip", "-batch", "-"], _bridge(100 + number))
            neighbours = (f"neigh add {e.addresses[0]} lladdr {e.mac} dev vx nud permanent\n" for e in peers)
            entries = (f"fdb add {e.mac} dev vx dst {FAR_VTEP} self permanent\n" for e in peers)
            with processes.taken():
                by_process(made, ["ip", "-batch", "-"], "".join(neighbours))
                by_process(made, ["bridge", "-batch", "-"], "".join(entries))
            self._go(spec)
        head("1,000 endpoints on other hosts", "`ip` and `bridge` processes")
        product.row("into the overlay, whole update", processes.median)
        processes.row("`ip -batch` and `bridge -batch`", processes.median)


_DNS_RULES = """table inet plain {
 chain names { type nat hook output priority -110;
  ip daddr 127.0.0.11 udp dport 53 dnat ip to 127.0.0.11:15353
  ip daddr 127.0.0.11 tcp dport 53 dnat ip to 127.0.0.11:15353
 }
}
"""


def _service_rules(endpoints: Sequence[OverlayEndpoint]) -> str:
    places = ", ".join(f"{place} : {each.addresses[0]}" for place, each in enumerate(endpoints))
    return f"""table ip plain
delete table ip plain
table ip plain {{ chain out {{ type nat hook output priority -100;
 ip daddr 10.110.255.1 dnat to numgen random mod {len(endpoints)} map {{ {places} }}
 }}
}}
"""


def _vxlan(number: int, path: str) -> str:
    return (
        f"link add vx type vxlan id {9000 + number} local {VTEP} dstport 4790 nolearning proxy\n"
        f"link set vx netns {path}\n"
    )


def _bridge(number: int) -> str:
    return (
        "link add br0 type bridge\nlink set vx master br0 up\n"
        f"address add {address(1, number % 100)}/16 dev br0\nlink set br0 up\n"
    )


def _main(containers: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        # Their mounts would keep the directories from being removed; the mount namespace is ours alone.
        subprocess.run(["mount", "-t", "tmpfs", "scratch", directory], check=True)
        try:
            asyncio.run(Bench(Path(directory), containers, rounds).run())
        finally:
            subprocess.run(["umount", "--recursive", directory], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--containers", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if _scratch not in os.environ:
        scratch = ("unshare", "--net", "--mount", "--propagation", "private", "--")
        again = (sys.executable, "-m", "bench.attach", *sys.argv[1:])
        os.execvpe("unshare", (*scratch, *again), {**os.environ, _scratch: "1"})
    _main(given.containers, given.rounds)


if __name__ == "__main__":
    main()
