"""The elements of the sets of the table `pyswarm-mesh`: what differs from host to host and with time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from netoverlay.mesh.ports import Port, Ports, Way, host_ports
from netoverlay.mesh.routes import MARK, node_mac
from netoverlay.nft import match, types
from netoverlay.nft.types import Value
from swarmcore.model.endpoint import Protocol

NUMBERS = {Protocol.TCP: match.TCP, Protocol.UDP: match.UDP, Protocol.SCTP: match.SCTP}
UNSERVED = "unserved"  # chain for virtual addresses without a replica to lead to


def virtual_keys(version: str, served: Iterable[tuple[str, Port]]) -> Iterable[bytes]:
    return (
        types.key(types.ip(address), NUMBERS[port.protocol], types.port(port.number))
        for address, port in served
        if version_of(address) == version
    )


def port_key(port: Port) -> bytes:
    return types.key(NUMBERS[port.protocol], types.port(port.number))


def version_of(address: str) -> str:
    return "6" if ":" in address else "4"


def node_elements(ports: Ports) -> Mapping[str, Mapping[bytes, Value]]:
    found: dict[str, dict[bytes, Value]] = {
        "numbers": {types.ether(node_mac(each)): types.mark(MARK | each) for each in ports.numbers},
        "zones": {types.ether(node_mac(each)): types.zone(each) for each in ports.numbers},
        "refused": {port_key(each): None for each in ports.refused},
    }
    for version in "46":
        unserved = virtual_keys(version, ports.unserved)
        found[f"virtual{version}"] = dict.fromkeys(unserved, types.goto(UNSERVED))
        found[f"nodes{version}"] = {
            types.ip(each): None for each in ports.nodes if version_of(each) == version
        }
        found[f"reachable{version}"] = {
            types.key(types.ip(address), NUMBERS[protocol], types.port(port)): None
            for address, protocol, port in ports.reachable
            if version_of(address) == version
        }
    return found


def way_elements(ways: tuple[Way, ...]) -> Mapping[str, Mapping[bytes, Value]]:
    found: dict[str, dict[bytes, Value]] = {
        f"{name}{version}": {} for name in (*_OF_ADDRESSES, "host-ports") for version in "46"
    }
    found["closed"] = {types.interface(way.device): None for way in ways if not way.open}
    for way in ways:
        for name, key in _address_keys(way.device, way.addresses, way.outsider):
            found[name][key] = None
    for port, target in host_ports(ways).items():
        for address in filter(None, (target.address4, target.address6)):
            reached = types.key(types.ip(address), types.port(target.target_port))
            found[f"host-ports{version_of(address)}"][port_key(port)] = reached
    return found


_OF_ADDRESSES = ("outsiders", "senders", "selves")


@lru_cache(maxsize=4096)
def _address_keys(
    device: str, addresses: tuple[str, ...], outsider: tuple[str, ...]
) -> tuple[tuple[str, bytes], ...]:
    """The elements of a wire's addresses. Kept: each container that comes or goes asks for those of all."""
    found: list[tuple[str, bytes]] = []
    for each in addresses:
        version, packed = version_of(each), types.ip(each)
        found.append((f"senders{version}", types.key(types.interface(device), packed)))
        found.append((f"selves{version}", types.key(packed, packed)))
    found += [(f"outsiders{version_of(each)}", types.ip(each)) for each in outsider]
    return tuple(found)
