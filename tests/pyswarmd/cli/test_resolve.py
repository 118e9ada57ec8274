"""Names that people type for nodes."""

from __future__ import annotations

import pytest

from pyswarmd.cli.resolve import Names, node_id
from swarmcore.errors import NotFound
from tests.fakes.engine import engine


async def test_self_is_the_node_behind_the_socket() -> None:
    async with engine({"GET /info": {"Swarm": {"NodeID": "n1"}}}) as (_, client):
        assert await node_id(client, "self") == "n1"


async def test_self_outside_of_a_swarm_says_how_to_get_in() -> None:
    async with engine({"GET /info": {"Swarm": {"NodeID": ""}}}) as (_, client):
        with pytest.raises(NotFound, match="not part of a swarm"):
            await node_id(client, "self")


async def test_any_other_name_is_looked_up_by_the_daemon() -> None:
    async with engine({"GET /nodes/m1": {"ID": "n1"}}) as (_, client):
        assert await node_id(client, "m1") == "n1"
        with pytest.raises(NotFound):
            await node_id(client, "m9")


async def test_host_names_are_fetched_once_and_unknown_ids_stay_ids() -> None:
    nodes = [{"ID": "n1", "Description": {"Hostname": "m1"}}, {"ID": "n2"}]
    async with engine({"GET /nodes": nodes}) as (fake, client):
        names = Names(client)
        assert [await names.node(n) for n in ("n1", "n2", "gone", "")] == ["m1", "n2", "gone", ""]
        assert len(fake.queries("GET /nodes")) == 1
