"""A pool of a network's addresses as a user writes it: a subnet and what lies in it. One Invalid line names a fault."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from swarmcore.addresses import bare
from swarmcore.errors import Invalid
from swarmcore.ipam import Subnet
from swarmcore.model.network import IPAMConfig


def checked_pool(config: IPAMConfig) -> Subnet | None:
    """The subnet, in which everything else of it lies; None where whoever gives the addresses shall choose one."""
    if not config.subnet:
        if config.range or config.gateway or config.auxiliary_addresses:
            raise Invalid(
                "an address range, a gateway or reserved addresses need their subnet", "name it with --subnet"
            )
        return None
    subnet = subnet_in("subnet", config.subnet)
    if config.range:
        pool = subnet_in("ip-range", config.range)
        if pool.version != subnet.version or not subnet.supernet_of(pool):  # type: ignore[arg-type]
            raise Invalid(f"invalid ip-range {pool}: parent subnet {subnet} doesn't contain ip-range")
    if config.gateway:
        _address("gateway", config.gateway, subnet)
    for address in config.auxiliary_addresses.values():
        _address("auxiliary address", address, subnet)
    if config.gateway in config.auxiliary_addresses.values():
        raise Invalid(f"auxiliary address {config.gateway} is the gateway")
    return subnet


def subnet_in(what: str, text: str) -> Subnet:
    """What `text` says; Invalid, naming `what` it should be, where that is no subnet or has bits behind its prefix."""
    try:
        subnet = ip_network(text, strict=False)
    except ValueError:
        raise Invalid(
            f"invalid {what} {text}: invalid CIDR block notation", "write it like 10.1.0.0/24"
        ) from None
    if "/" not in text:
        raise Invalid(f"invalid {what} {text}: invalid CIDR block notation", "write it like 10.1.0.0/24")
    if ip_address(bare(text)) != subnet.network_address:
        raise Invalid(f"invalid {what} {text}: it should be {subnet}")
    return subnet


def _address(what: str, text: str, subnet: Subnet) -> None:
    try:
        address = ip_address(text)
    except ValueError:
        raise Invalid(f"invalid {what} {text}: invalid address") from None
    if address not in subnet:
        raise Invalid(f"invalid {what} {text}: parent subnet {subnet} doesn't contain this address")
    if address == subnet.network_address or (subnet.version == 4 and address == subnet.broadcast_address):
        raise Invalid(f"invalid {what} {text}: it stands for the subnet {subnet} as a whole")
