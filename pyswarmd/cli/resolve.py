"""Names that the CLI looks up for people: services, nodes, tasks."""

from __future__ import annotations

from typing import Any

from pyswarmd.client import EngineClient, at
from swarmcore.errors import NotFound


async def node_id(client: EngineClient, name: str) -> str:
    """The id of a node given as id, prefix, host name or `self`."""
    if name == "self":
        found = (await client.get("/info"))["Swarm"]["NodeID"]
        if not found:
            raise NotFound(
                "this node is not part of a swarm",
                'use "pyswarm init" or "pyswarm join --token TOKEN HOST:PORT"',
            )
        return str(found)
    return str((await client.get(at("nodes", name)))["ID"])


class Names:
    """Ids to names, each kind fetched once."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._nodes: dict[str, str] | None = None

    async def node(self, wanted: str) -> str:
        if not wanted:
            return ""
        if self._nodes is None:
            nodes: list[dict[str, Any]] = await self._client.get("/nodes")
            self._nodes = {n["ID"]: (n.get("Description") or {}).get("Hostname", n["ID"]) for n in nodes}
        return self._nodes.get(wanted, wanted)
