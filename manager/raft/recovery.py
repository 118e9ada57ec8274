"""`--force-new-cluster`: a lone survivor makes itself the only member, keeping everything that its log holds."""

from __future__ import annotations

from manager.raft.interfaces import CorruptState, Journal, Snapshots
from manager.raft.messages import KIND_NOOP, encode_members


def force_new_cluster(node_id: str, address: str, journal: Journal, snapshots: Snapshots) -> None:
    """Call before RaftNode starts on them. Both have verified themselves when they were read.

    The configuration is one more entry at the log's end, in a new term: earlier entries stay, also those whose
    commit this manager had not heard of, for their writers may have been told that they are safe.
    """
    snapshot = snapshots.load()
    if len(journal) == 0 and snapshot is None:
        raise CorruptState("there is no log to recover a swarm from")
    if snapshot is not None and (len(journal) == 0 or journal[-1][1] < snapshot.meta.index):
        journal.reset([(bytes([KIND_NOOP]), snapshot.meta.index, snapshot.meta.term)])
    _, last, last_term = journal[-1]
    term = max(journal.getCurrentTerm(), last_term) + 1
    journal.setCurrentTerm(term, None)
    journal.add(encode_members({node_id: address}), last + 1, term)
    journal.sync()
