"""What kinds of runs there are: how many members, which faults, how fast."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from tests.sim.member import Storage
from tests.sim.storage import DiskStorage

FAULTS = ("partition", "stall", "crash", "pause", "reset", "disk", "handover")


class Plan(Struct, frozen=True, kw_only=True):
    """What kind of run. The same plan and seed always give the same run."""

    members: int = 3
    #: So many of them form the swarm at first; the others join and leave while it runs. 0: all, and no churn.
    founders: int = 0
    seconds: float = 8.0
    faults: tuple[str, ...] = FAULTS
    #: Faults follow each other after so many seconds (at least, at most).
    pace: tuple[float, float] = (0.1, 1.2)
    restart: tuple[float, float] = (0.05, 1.5)
    #: Probability that one disk operation is the process' last.
    crash_probability: float = 0.0003
    #: Shortest and longest election time-out.
    election: tuple[float, float] = (0.4, 0.8)
    heartbeat: float = 0.1
    #: This share of the messages takes up to `slowest` seconds, the others some milliseconds.
    slow_share: float = 0.03
    slowest: float = 0.3
    reconnect_every: float = 0.1
    snapshot_entries: int = 40
    batch_bytes: int = 600
    #: A majority is lost for good, a survivor is recovered without it, and the lost come back.
    recovery: bool = False
    #: New connections name the generation of the swarm, and another one's are refused.
    fenced: bool = True
    #: So many times the usual number of requests.
    load: int = 1
    #: Clocks run at different rates (slowest, fastest); in the end the leader takes no new connections any more.
    clocks: tuple[float, float] | None = None
    #: Members join and leave after so many seconds (at least, at most).
    churn: tuple[float, float] = (0.05, 0.8)
    storage: Callable[[int], Storage] = DiskStorage


STORM = Plan(pace=(0.02, 0.4), restart=(0.005, 0.12))
CHURN = Plan(members=5, founders=3)
FIVE = Plan(members=5)
CHURN_STORM = Plan(members=5, founders=3, pace=(0.02, 0.4), restart=(0.005, 0.12))
#: Members campaign without asking first and die when they have voted; answers arrive when their term is over.
ELECTIONS = Plan(
    faults=("duel", "duel", "crash", "stall", "reset", "handover"),
    pace=(0.02, 0.4),
    restart=(0.001, 0.01),
    reconnect_every=0.003,
    slow_share=0.1,
    slowest=0.2,
)

#: Answers of an earlier term, claiming what has been overwritten since.
LATE = Plan(members=5, faults=("late",), pace=(1.5, 2.5), slow_share=0.0, crash_probability=0.0)
#: Leaders that nobody hears while another leads are asked for reads.
READS = Plan(faults=("lonely", "lonely", "crash", "reset"), pace=(0.4, 1.2))
#: The swarm falls apart while its leader takes members of the other side out of it.
DIVIDED = Plan(members=5, founders=5, faults=("divide", "divide", "crash", "stall"), pace=(0.5, 1.5))

#: Members come and go while many writes are under way.
CHURN_LOAD = Plan(
    members=5, founders=3, load=6, churn=(0.02, 0.3), faults=("crash", "reset", "handover", "stall")
)
#: Two of three are lost, the third is recovered without them, and they come back: a majority of what was before.
RECOVERY = Plan(members=5, founders=3, recovery=True)
#: The same without the fence between generations at the links: what the core knows of its members must do.
RECOVERY_UNFENCED = Plan(members=5, founders=3, recovery=True, fenced=False)
#: No two clocks run alike, they leap, and what is promised must hold all the same.
CLOCKS = Plan(clocks=(0.6, 1.6), faults=("partition", "stall", "pause", "leap", "leap", "lonely", "crash"))
