"""`pyswarm init`, `join`, `leave`, `join-token`: this node and its swarm."""

from __future__ import annotations

import argparse
from typing import Any

from pyswarmd.cli import units
from pyswarmd.cli.render import out
from pyswarmd.client import EngineClient, at
from pyswarmd.config import PORT
from swarmcore.addresses import with_port
from swarmcore.model.cluster import MAX_REPLICAS_LABEL

Commands = Any  # argparse keeps its sub-parser type private


def add(commands: Commands) -> None:
    _add_init(commands.add_parser("init", help="make this node the first manager of a new swarm"))

    join = commands.add_parser("join", help="join a swarm as the role that the token stands for")
    join.add_argument("remote", metavar="HOST:PORT", help="any manager of the swarm")
    join.add_argument("--token", required=True)
    join.add_argument("--advertise-addr", default="")
    join.add_argument("--data-path-addr", default="", help="address or interface for overlay traffic")
    join.add_argument("--listen-addr", default=f"0.0.0.0:{PORT}")
    join.add_argument("--availability", choices=("active", "pause", "drain"), default="active")
    join.set_defaults(run=_join)

    leave = commands.add_parser("leave", help="leave the swarm")
    leave.add_argument("-f", "--force", action="store_true", help="also as a manager")
    leave.set_defaults(run=_leave)

    token = commands.add_parser("join-token", help="show or rotate a join token")
    token.add_argument("role", choices=("worker", "manager"))
    token.add_argument("--rotate", action="store_true", help="make a new token; the old one stops working")
    token.add_argument("-q", "--quiet", action="store_true", help="only the token")
    token.set_defaults(run=_token)


def _add_init(init: argparse.ArgumentParser) -> None:
    init.add_argument("--advertise-addr", default="", help="address other nodes reach this one at")
    init.add_argument("--listen-addr", default=f"0.0.0.0:{PORT}", help="address and port to listen on")
    init.add_argument("--data-path-addr", default="", help="address or interface for overlay traffic")
    init.add_argument(
        "--data-path-port", type=units.integer, default=0, help="UDP port of overlay traffic (4789)"
    )
    init.add_argument("--default-addr-pool", action="append", default=[], metavar="CIDR")
    init.add_argument("--default-addr-pool-mask-length", type=units.integer, default=24, metavar="BITS")
    init.add_argument("--availability", choices=("active", "pause", "drain"), default="active")
    init.add_argument("--cert-expiry", default="2160h", help="life of node certificates (%(default)s)")
    init.add_argument("--dispatcher-heartbeat", default="1s", help="agents' heartbeat (%(default)s)")
    init.add_argument("--task-history-limit", type=units.integer, default=5)
    init.add_argument(
        "--snapshot-interval", type=units.integer, default=10000, help="raft entries between snapshots"
    )
    init.add_argument(
        "--max-replicas", type=units.integer, help="how many replicas one service may have (100000)"
    )
    init.add_argument("--force-new-cluster", action="store_true", help="go on alone with this node's state")
    init.set_defaults(run=_init)


async def _init(client: EngineClient, options: argparse.Namespace) -> None:
    node_id = await client.post(
        "/swarm/init",
        {
            "ListenAddr": with_port(options.listen_addr, PORT),
            "AdvertiseAddr": options.advertise_addr,
            "DataPathAddr": options.data_path_addr,
            "DataPathPort": options.data_path_port,
            "DefaultAddrPool": [part for item in options.default_addr_pool for part in item.split(",")],
            "SubnetSize": options.default_addr_pool_mask_length,
            "Availability": options.availability,
            "ForceNewCluster": options.force_new_cluster,
            "Spec": {
                "Name": "default",
                "Labels": {}
                if options.max_replicas is None
                else {MAX_REPLICAS_LABEL: str(options.max_replicas)},
                "Orchestration": {"TaskHistoryRetentionLimit": options.task_history_limit},
                "Raft": {"SnapshotInterval": options.snapshot_interval},
                "Dispatcher": {"HeartbeatPeriod": units.duration(options.dispatcher_heartbeat)},
                "CAConfig": {"NodeCertExpiry": units.duration(options.cert_expiry)},
            },
        },
    )
    out(f"Swarm initialized: current node ({node_id}) is now a manager.\n")
    await _print_join(client, "worker")
    out('To add a manager to this swarm, run "pyswarm join-token manager" and follow the instructions.')


async def _join(client: EngineClient, options: argparse.Namespace) -> None:
    await client.post(
        "/swarm/join",
        {
            "ListenAddr": with_port(options.listen_addr, PORT),
            "AdvertiseAddr": options.advertise_addr,
            "DataPathAddr": options.data_path_addr,
            "Availability": options.availability,
            "RemoteAddrs": [with_port(options.remote, PORT)],
            "JoinToken": options.token,
        },
    )
    info = (await client.get("/info"))["Swarm"]
    out(f"This node joined a swarm as a {'manager' if info['ControlAvailable'] else 'worker'}.")


async def _leave(client: EngineClient, options: argparse.Namespace) -> None:
    await client.post("/swarm/leave", force=str(options.force).lower())
    out("Node left the swarm.")


async def _token(client: EngineClient, options: argparse.Namespace) -> None:
    role = options.role.capitalize()
    if options.rotate:
        swarm = await client.get("/swarm")
        query = {f"rotate{role}Token": "true", "version": swarm["Version"]["Index"]}
        await client.json("POST", "/swarm/update", body=swarm["Spec"], query=query)
        if not options.quiet:
            out(f"Successfully rotated {options.role} join token.\n")
    if options.quiet:
        out((await client.get("/swarm"))["JoinTokens"][role])
    else:
        await _print_join(client, options.role)


async def _print_join(client: EngineClient, role: str) -> None:
    swarm = await client.get("/swarm")
    node = await client.get(at("nodes", (await client.get("/info"))["Swarm"]["NodeID"]))
    token, address = swarm["JoinTokens"][role.capitalize()], node["ManagerStatus"]["Addr"]
    out(f"To add a {role} to this swarm, run the following command:\n")
    out(f"    pyswarm join --token {token} {address}\n")
