"""A check of a network between nodes: the leader asks agents through their sessions, they answer with calls.

One check has three steps, all named by `check_id`, which nobody outside of it knows: every party opens listeners
(`PreparePeer`, answered by `PeerReady`), then all of them probe all others (`ProbePeers`, answered by
`ProbeReport`), then they close (`EndCheck`). A party that hears no end closes by itself.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Outcome(StrEnum):
    """Of one probe. `REFUSED`: the other end answered, and said that nobody listens there."""

    OK = "ok"
    LOST = "lost"
    REFUSED = "refused"
    DAMAGED = "damaged"
    TOO_LARGE = "too-large"
    UNTESTED = "untested"


class PreparePeer(Struct, frozen=True, kw_only=True, tag="prepare-peer"):
    """To an agent: listen on these addresses (bare) in the namespace of `task_id`, empty for the host's own.

    `seconds`: how long the check may last; then everything is closed whether or not its end was told.
    """

    check_id: str
    network_id: str
    task_id: str = ""
    addresses: tuple[str, ...] = ()
    seconds: float = 12.0


class Listening(Struct, frozen=True, kw_only=True):
    """One address of a party with the ports that it answers on."""

    address: str
    tcp: int
    udp: int


class PeerReady(Struct, frozen=True, kw_only=True, tag="peer-ready"):
    """From an agent: where it listens, or the problem for which it cannot take part."""

    check_id: str
    listening: tuple[Listening, ...] = ()
    problem: str = ""


class CheckedPeer(Struct, frozen=True, kw_only=True):
    """Another party of the check. `vtep` is its host's address on the underlay."""

    node_id: str
    vtep: str
    listening: tuple[Listening, ...] = ()


class CheckedService(Struct, frozen=True, kw_only=True):
    """A virtual address (bare) with a TCP port that the service says it listens on; 0 where it says none."""

    name: str
    vip: str
    port: int = 0


class ProbePeers(Struct, frozen=True, kw_only=True, tag="probe-peers"):
    """To an agent: probe these peers, look up these names, connect to these services; `seconds` for all of it.

    `large` is how many bytes a large TCP exchange has each way.
    """

    check_id: str
    peers: tuple[CheckedPeer, ...] = ()
    names: tuple[str, ...] = ()
    services: tuple[CheckedService, ...] = ()
    large: int = 1 << 20
    seconds: float = 6.0


class EndCheck(Struct, frozen=True, kw_only=True, tag="end-check"):
    check_id: str


class PairResult(Struct, frozen=True, kw_only=True):
    """What came back from one address of a peer. `mtu` is what this side's route to it carries, in bytes.

    `large_udp` is one datagram of exactly that size that must not be fragmented.
    """

    node_id: str
    address: str
    ping: Outcome = Outcome.UNTESTED
    udp: Outcome = Outcome.UNTESTED
    tcp: Outcome = Outcome.UNTESTED
    large_udp: Outcome = Outcome.UNTESTED
    large_tcp: Outcome = Outcome.UNTESTED
    mtu: int = 0


class PathResult(Struct, frozen=True, kw_only=True):
    """The way below the overlay, between the hosts' own addresses, in bytes of whole IP packets.

    `mtu` is what this host's route carries, `passed` the largest packet that came back (0: no ping does).
    """

    node_id: str
    mtu: int = 0
    passed: int = 0


class NameResult(Struct, frozen=True, kw_only=True):
    """What the container's resolver said: IPv4 addresses. `partial`: there are more than fit one datagram."""

    name: str
    outcome: Outcome
    addresses: tuple[str, ...] = ()
    partial: bool = False


class ServiceResult(Struct, frozen=True, kw_only=True):
    name: str
    vip: str
    port: int
    outcome: Outcome


class HostFacts(Struct, frozen=True, kw_only=True):
    """What a host says of itself. `mtu` is that of the network's own devices, 0 where it has none of them.

    `drops` are rules, as nft prints them, that are not ours and drop what comes to the data path port; `guard` is the
    table and chain of somebody else that refuses what is for the host itself where no rule lets it in.
    """

    device: str = ""
    device_mtu: int = 0
    mtu: int = 0
    drops: tuple[str, ...] = ()
    guard: str = ""


class ProbeReport(Struct, frozen=True, kw_only=True, tag="probe-report"):
    """From an agent: all results. `heard` are the nodes whose UDP probes arrived here, answered or not.

    `repairs`: differences between this host's kernel and the tables that were mended when the check began.
    """

    check_id: str
    pairs: tuple[PairResult, ...] = ()
    paths: tuple[PathResult, ...] = ()
    names: tuple[NameResult, ...] = ()
    services: tuple[ServiceResult, ...] = ()
    heard: tuple[str, ...] = ()
    repairs: int = 0
    facts: HostFacts = HostFacts()


CheckStep = PreparePeer | ProbePeers | EndCheck


class CheckNetwork(Struct, frozen=True, kw_only=True, tag="check-network"):
    """From a manager that does not lead. `network_id` empty: between the hosts, over the ingress network."""

    network_id: str = ""


class FindingKind(StrEnum):
    ABSENT = "absent"
    UNREACHABLE = "unreachable"
    BLOCKED = "blocked"
    FIREWALL = "firewall"
    MTU = "mtu"
    OFFLOAD = "offload"
    STALE = "stale"
    NAMES = "names"
    VIP = "vip"
    UNTESTED = "untested"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is wrong, in a sentence, with what to do about it; `nodes` are the ids of those concerned."""

    kind: FindingKind
    nodes: tuple[str, ...]
    text: str
    hint: str = ""


class CheckedNode(Struct, frozen=True, kw_only=True):
    """A node of the check; `problem` says why it did not take part, `report` what it saw if it did."""

    node_id: str
    name: str
    vtep: str = ""
    addresses: tuple[str, ...] = ()
    task_id: str = ""
    problem: str = ""
    report: ProbeReport | None = None


class NetworkReport(Struct, frozen=True, kw_only=True):
    """The whole check. `remarks` are no faults: what could not be looked at, and why."""

    network: str
    nodes: tuple[CheckedNode, ...] = ()
    findings: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()
    seconds: float = 0.0
