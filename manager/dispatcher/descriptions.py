"""What nodes tell of themselves during their sessions: the newest of each node is written, one at a time.

So a node that describes itself without end costs a write after the other, and no memory.
"""

from __future__ import annotations

import asyncio

from manager.dispatcher import nodes
from manager.dispatcher.statuses import Writer
from swarmcore.model.node import NodeDescription


class Descriptions:
    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._newest: dict[str, NodeDescription] = {}  # of nodes for which a write is under way

    def tell(self, node_id: str, description: NodeDescription) -> None:
        under_way = node_id in self._newest
        self._newest[node_id] = description
        if not under_way:
            self._write(node_id)

    def _write(self, node_id: str) -> None:
        written: list[NodeDescription | None] = [None]

        def newest() -> NodeDescription | None:
            written[0] = self._newest.get(node_id)
            return written[0]

        def done(future: asyncio.Future[bool]) -> None:
            if future.cancelled() or self._newest.get(node_id) is written[0]:
                self._newest.pop(node_id, None)
            else:
                self._write(node_id)

        self._writer.submit(node_id, [nodes.described(node_id, newest)]).add_done_callback(done)
