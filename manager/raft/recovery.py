"""`--force-new-cluster`: a lone survivor makes itself the only member, keeping everything that its log holds."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from manager.raft.interfaces import CorruptState, Journal, Snapshots
from manager.raft.messages import (
    KIND_MEMBERSHIP,
    KIND_NOOP,
    Configuration,
    decode_configuration,
    encode_configuration,
)
from swarmcore.model.generation import FIRST, Generation


class Recovery(Struct, frozen=True, kw_only=True):
    """`address` is the survivor's own; `generation_id` is random, and what the recovered swarm is told by."""

    address: str
    generation_id: str
    now: datetime


def force_new_cluster(node_id: str, recovery: Recovery, journal: Journal, snapshots: Snapshots) -> Generation:
    """Call before RaftNode starts on them. Both have verified themselves when they were read.

    The configuration is one more entry at the log's end, in a new term: earlier entries stay, also those whose
    commit this manager had not heard of, for their writers may have been told that they are safe. It begins another
    generation of the swarm: the members that were given up may be alive, a majority among themselves, and must never
    be mistaken for members of this one.
    """
    snapshot = snapshots.load()
    if len(journal) == 0 and snapshot is None:
        raise CorruptState("there is no log to recover a swarm from")
    before = FIRST if snapshot is None else snapshot.meta.generation
    if snapshot is not None and (len(journal) == 0 or journal[-1][1] < snapshot.meta.index):
        journal.reset([(bytes([KIND_NOOP]), snapshot.meta.index, snapshot.meta.term)])
    for command, _, _ in journal[:]:
        if command[:1] == bytes([KIND_MEMBERSHIP]):
            before = decode_configuration(command).generation
    _, last, last_term = journal[-1]
    term = max(journal.getCurrentTerm(), last_term) + 1
    generation = before.next(recovery.generation_id, recovery.now)
    alone = Configuration(members={node_id: recovery.address}, generation=generation)
    journal.setCurrentTerm(term, None)
    journal.add(encode_configuration(alone), last + 1, term)
    journal.sync()
    return generation
