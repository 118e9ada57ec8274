"""What workers tell of themselves and of their tasks, checked and clipped before anybody goes by it. Pure.

Law: nothing that one worker sends ends a manager's loop, fills the store or breaks another node. Texts are clipped,
times are made comparable, numbers are brought into the range that clients can read; what cannot be mended is refused
with Invalid, for the session that brought it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_interface, ip_network

import msgspec
from msgspec.structs import replace

from manager.rules.clashes import MOST_NETWORKS
from swarmcore.errors import Invalid
from swarmcore.model.endpoint import PortConfig
from swarmcore.model.node import NodeDescription
from swarmcore.model.resources import GenericResource, Resources
from swarmcore.model.task import ContainerStatus, PortStatus, TaskStatus

MAX_DESCRIPTION = 256 << 10  # bytes, as it is stored
MAX_TEXT = 4096  # characters of a status' message or error, for people
MAX_NAME = 253  # characters of a host's name: what DNS knows
MAX_ID = 128  # characters of a container's id
MOST_PORTS = 1024  # of one task
MOST_GENERIC = 1024  # resources of one node
_INT32, _INT64 = 2**31 - 1, 2**63 - 1
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(days=1)  # of a node's clock; what lies further in the future is not believed


def checked_description(given: NodeDescription) -> NodeDescription:
    """Raises Invalid if it is too large, or names an address that others could not use."""
    if given.data_path_addr and not _reads(ip_address, given.data_path_addr):
        raise Invalid(f"the data path address {given.data_path_addr[:60]!r} of the node is no IP address")
    told = replace(
        given,
        hostname=given.hostname[:MAX_NAME],
        resources=_resources(given.resources),
        host_subnets=_readable(ip_interface, given.host_subnets),
        host_routes=_readable(ip_network, given.host_routes),
        fault=given.fault[:MAX_TEXT],
    )
    if (size := len(msgspec.msgpack.encode(told))) > MAX_DESCRIPTION:
        raise Invalid(
            f"the node's description has {size} bytes: at most {MAX_DESCRIPTION >> 10} KiB are taken",
            "give its daemon fewer or shorter labels",
        )
    return told


def _resources(given: Resources) -> Resources:
    return replace(
        given,
        nano_cpus=_within(given.nano_cpus, _INT64),
        memory_bytes=_within(given.memory_bytes, _INT64),
        generic_resources=tuple(map(_generic, given.generic_resources[:MOST_GENERIC])),
    )


def _generic(given: GenericResource) -> GenericResource:
    count = given.discrete_resource_spec
    if count is None:
        return given
    return replace(given, discrete_resource_spec=replace(count, value=_within(count.value, _INT64)))


def _readable(read: Callable[[str], object], texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for text in tuple(texts)[:MOST_NETWORKS] if _reads(read, text))


def _reads(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def _within(number: int, most: int) -> int:
    return min(max(number, 0), most)


def checked_status(given: TaskStatus, now: datetime) -> TaskStatus:
    return replace(
        given,
        timestamp=checked_time(given.timestamp, now),
        message=given.message[:MAX_TEXT],
        err=given.err[:MAX_TEXT],
        container_status=_container(given.container_status),
        port_status=_ports(given.port_status),
    )


def checked_time(given: datetime | None, now: datetime) -> datetime:
    """One that can be compared with all others, and reckoned with."""
    return now if given is None else min(comparable(given), now + _AHEAD)


def comparable(given: datetime) -> datetime:
    """The time in UTC, not before 1970; one without a zone is taken to be UTC."""
    try:
        known = given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except OverflowError:  # at one of the ends of what can be said
        known = given.replace(tzinfo=UTC)
    return max(known, _EARLIEST)


def _container(given: ContainerStatus | None) -> ContainerStatus | None:
    if given is None:
        return None
    return replace(
        given,
        container_id=given.container_id[:MAX_ID],
        pid=_within(given.pid, _INT32),
        exit_code=min(max(given.exit_code, -_INT32), _INT32),
    )


def _ports(given: PortStatus) -> PortStatus:
    if not given.ports:
        return given
    return PortStatus(ports=tuple(port for port in given.ports[:MOST_PORTS] if _is_sound(port)))


def _is_sound(port: PortConfig) -> bool:
    return len(port.name) <= MAX_NAME and max(port.target_port, port.published_port) < 1 << 16
