"""The garbage collector of a daemon that holds very many values: seldom, and without what stays for good.

A full collection looks at every reference from every container: a store of 100,000 tasks makes it hold the event loop
for a quarter of a second. Values are freed by counting references; what is left for the collector are the few cycles
that exceptions and tasks make, and most of these are young.
"""

from __future__ import annotations

import gc

#: Allocations until a young collection; young ones until an older one; these until a full one.
THRESHOLDS = (10_000, 20, 50)


def calm_collector() -> None:
    """Call it once everything is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
