"""Figures that the daemon tells of itself; who serves them decides how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from manager.raft.proposer import RaftStatus


class Sample(Struct, frozen=True, kw_only=True):
    """`counts`: it only grows while the daemon lives. Names follow Prometheus' rules, without `_total`."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = {}
    counts: bool = False


def of_host(containers: int, images: int, faults: Mapping[str, int]) -> Iterator[Sample]:
    """`faults` by the part of the daemon that failed."""
    yield Sample(name="pyswarm_containers_running", help="Containers that run on this host", value=containers)
    yield Sample(name="pyswarm_images", help="Images that this host holds", value=images)
    for part, count in faults.items():
        yield Sample(
            name="pyswarm_faults",
            help="Times that a part of this daemon failed and tried again",
            value=count,
            labels={"part": part},
            counts=True,
        )


def of_raft(status: RaftStatus) -> Iterator[Sample]:
    yield Sample(name="pyswarm_raft_term", help="Term of the managers' log", value=status.term)
    yield Sample(
        name="pyswarm_raft_leader",
        help="Whether this manager leads",
        value=float(status.leader == status.node_id),
    )
