"""Raft below the API: commit latency, writes per second, read barriers and failover of three managers.

    python -m bench.raft [--clients 1 16 64 256] [--seconds 3] [--rounds 5] [--api]

Three processes on loopback with real TLS and real, sealed, fdatasynced journals (in the current directory's file
system: a tmpfs would lie). `--api` also runs bench.api: the same through the Engine API of a lab. The prototype reached
1.1 ms p50, 10,000 to 67,000 writes a second and 0.6 s of failover; PySyncObj as it comes 101 ms and 158 writes a second
with one and sixteen writers, and 0.99 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manager.leader import Leader
from manager.membership.members import Members
from manager.raft.node import RaftNode
from manager.raft.open import open_raft
from manager.raft.proposer import Member
from manager.store.store import Store
from pki.contexts import Contexts
from pki.csr import make_csr
from pki.identity import identify
from pki.keys import new_key
from pki.keystore import KeyStore
from pki.root import NODE_LIFE, RootAuthority
from pki.seal import DataKeyFile
from swarmcore.clock import AgreedClock, RealClock
from swarmcore.errors import SwarmError
from swarmcore.model.generation import FIRST
from swarmcore.model.node import NodeRole
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.members import ReadIndex, ReadIndexReply
from swarmcore.rpc.server import RpcServer

CLUSTER = "bench"
NAMES = ("m1", "m2", "m3")
PAYLOAD = bytes(100)


class Counter:
    """A state machine that costs nothing."""

    def __init__(self) -> None:
        self.applied = 0

    def apply(self, data: bytes, index: int) -> None:
        self.applied += 1

    def snapshot(self) -> Any:
        return lambda: str(self.applied).encode()

    def restore(self, data: bytes, index: int) -> None:
        self.applied = int(data)


# -- one manager's process: commands as JSON lines on stdin, answers on stdout -----------------------


async def serve(folder: Path, name: str, found: bool) -> None:
    keystore = KeyStore(folder / name)
    keystore.load()
    contexts = Contexts(keystore)
    client = RpcClient(contexts.client_now)
    server = RpcServer(lambda der: identify(der, CLUSTER, datetime.now(UTC)), lambda peer: None)
    await server.start("127.0.0.1", 0, contexts.server)
    address = f"127.0.0.1:{server.port}"

    async def ask(leader: str) -> int:
        return (await client.call(leader, ReadIndex(), ReadIndexReply)).index

    raft = await open_raft(
        folder / name / "raft",
        DataKeyFile(folder / name).load_or_create(),
        name,
        Counter(),
        server=server,
        client=client,
        ask_leader=ask,
        on_fatal=lambda error: sys.exit(f"raft stopped: {error}"),
        clock=AgreedClock(RealClock()),
        bootstrap={name: address} if found else None,
    )
    raft.join_generation(FIRST)
    store = Store(RealClock())
    Members(store, raft, Leader(store, raft, client)).register(server)
    say({"address": address})
    lines = await stdin_lines()
    while line := await lines.readline():
        say(await carry_out(raft, json.loads(line)))


async def stdin_lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


async def carry_out(raft: RaftNode, command: dict[str, Any]) -> dict[str, Any]:
    match command["do"]:
        case "lead":
            await raft.wait_lead(True)
            return {}
        case "add":
            await raft.add_member(Member(node_id=command["name"], address=command["address"]))
            return {}
        case "leader":
            leader = raft.leader
            return {"leader": leader.node_id if leader else ""}
        case "write":
            return {"took": await load(lambda: raft.propose(PAYLOAD), command["clients"], command["seconds"])}
        case "read":
            return {"took": await load(raft.read_barrier, command["clients"], command["seconds"])}
        case "take over":
            return {"at": await take_over(raft)}
    raise ValueError(command)


async def load(call: Any, clients: int, seconds: float) -> list[float]:
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        while (start := time.perf_counter()) < end:
            await call()
            took.append(time.perf_counter() - start)

    await asyncio.gather(*(client() for _ in range(clients)))
    return took


async def take_over(raft: RaftNode) -> float:
    """When (on the machine's monotonic clock) somebody else than the old leader has committed a write."""
    old = raft.leader
    while True:
        await raft.wait_until(lambda: raft.leader is not None and raft.leader != old)
        if not raft.is_leader:
            await raft.read_barrier()
            return time.monotonic()
        try:
            await raft.propose(PAYLOAD)
            return time.monotonic()
        except SwarmError:
            await asyncio.sleep(0)


# -- the conductor -----------------------------------------------------------------------------------


class Process:
    def __init__(self, folder: Path, name: str, *, found: bool = False) -> None:
        argv = [sys.executable, "-m", "bench.raft", "--serve", str(folder), name]
        self._process = subprocess.Popen(
            argv + (["--found"] if found else []), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.name = name
        self.address: str = self.answer()["address"]

    def ask(self, **command: Any) -> dict[str, Any]:
        self.tell(**command)
        return self.answer()

    def tell(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} has ended; see its words above")
        return dict(json.loads(line))

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def begin(folder: Path) -> list[Process]:
    root = RootAuthority.create()
    for name in NAMES:
        key = new_key()
        pem = root.sign(make_csr(key), name, NodeRole.MANAGER, CLUSTER, NODE_LIFE)
        KeyStore(folder / name).save(key, pem, root.cert_pem)
    first = Process(folder, NAMES[0], found=True)
    first.ask(do="lead")
    members = [first]
    for name in NAMES[1:]:
        members.append(Process(folder, name))
        first.ask(do="add", name=name, address=members[-1].address)
    return members


def show(what: str, clients: int, took: list[float], seconds: float) -> None:
    took.sort()
    middle, worst = 1e3 * statistics.median(took), 1e3 * took[int(len(took) * 0.99)]
    print(f"{what:<7} {clients:>7} {middle:>7.2f} {worst:>7.2f} {len(took) / seconds:>9.0f}", flush=True)


def failover() -> float:
    """Seconds from the leader's kill -9 until a write is committed by another one."""
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
        first, *rest = begin(Path(folder))
        try:
            first.ask(do="write", clients=4, seconds=0.3)
            for other in rest:
                other.tell(do="take over")
            time.sleep(0.2)  # both wait for it now
            start = time.monotonic()
            first.kill()
            return float(min(other.answer()["at"] for other in rest)) - start
        finally:
            for process in (first, *rest):
                process.kill()


def conduct(clients: list[int], seconds: float, rounds: int) -> None:
    print(f"{'':<7} {'clients':>7} {'p50 ms':>7} {'p99 ms':>7} {'per s':>9}")
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
        members = begin(Path(folder))
        try:
            leader = members[0]
            leader.ask(do="write", clients=16, seconds=0.5)  # warm
            for count in clients:
                took = leader.ask(do="write", clients=count, seconds=seconds)["took"]
                show("write", count, took, seconds)
            show("read", 1, leader.ask(do="read", clients=1, seconds=seconds)["took"], seconds)
        finally:
            for process in members:
                process.kill()
    times = [failover() for _ in range(rounds)]
    print(
        f"failover, kill -9 to committed write: median {statistics.median(times):.2f} s, max {max(times):.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--api", action="store_true", help="also through the Engine API of a lab")
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "NAME"), help=argparse.SUPPRESS)
    parser.add_argument("--found", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(Path(options.serve[0]), options.serve[1], options.found))
        return
    conduct(options.clients, options.seconds, options.rounds)
    if options.api:
        subprocess.run([sys.executable, "-m", "bench.api"], check=True)


if __name__ == "__main__":
    main()
