"""Run inside a lab host: attacks a manager's port in one way and prints what came back as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import struct
import sys
import tempfile
from pathlib import Path

import msgspec

from pki.contexts import unverified_context
from pki.csr import make_csr
from pki.keys import dump_key, new_key
from pki.root import NODE_LIFE, RootAuthority
from swarmcore.clock import RealClock
from swarmcore.model.node import NodeRole
from swarmcore.model.service import ServiceSpec
from swarmcore.rpc.messages.control import CreateService, ForwardedControl
from swarmcore.rpc.messages.members import JoinRaft


def context(identity: Path | None) -> ssl.SSLContext:
    made = unverified_context()
    if identity is not None:
        made.load_cert_chain(identity)
    return made


async def post(address: str, tls: ssl.SSLContext, tag: str, body: bytes) -> int:
    """The status of a call; 0 when the connection was closed instead."""
    host, _, port = address.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(
            host, int(port), ssl=tls, server_hostname="swarm-manager"
        )
    except (ssl.SSLError, ConnectionError):
        return 0
    try:
        head = f"POST /rpc/{tag} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        line = await reader.readline()
    except (ssl.SSLError, ConnectionError):
        return 0
    finally:
        writer.close()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()
    return int(line.split()[1]) if line else 0


def foreign(folder: Path, node_id: str, cluster_id: str) -> Path:
    """A manager's certificate of a root that is not the swarm's, with the swarm's own names in it."""
    root = RootAuthority.create(RealClock())
    key = new_key()
    cert = root.sign(make_csr(key), node_id, NodeRole.MANAGER, cluster_id, NODE_LIFE)
    path = folder / "foreign.pem"
    path.write_bytes(dump_key(key) + cert)
    return path


async def raw(address: str, data: bytes, tls: ssl.SSLContext | None = None) -> str:
    """Send bytes and wait for the other side to close."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(
        host, int(port), ssl=tls, server_hostname="swarm-manager" if tls else None
    )
    try:
        writer.write(data)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(200), 20)
    except (ssl.SSLError, ConnectionError):
        return "closed"
    finally:
        writer.close()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()
    return answer.decode(errors="replace").splitlines()[0] if answer else "closed"


async def main(address: str, own: str, cluster_id: str, manager_id: str) -> None:
    create = msgspec.msgpack.encode(ForwardedControl(request=CreateService(spec=ServiceSpec(name="evil"))))
    join = msgspec.msgpack.encode(JoinRaft(address="10.77.0.66:2377"))
    worker = context(Path(own))
    found: dict[str, object] = {}
    found["worker creates a service"] = await post(address, worker, "forwarded-control", create)
    found["worker joins raft"] = await post(address, worker, "join-raft", join)
    found["nobody creates a service"] = await post(address, context(None), "forwarded-control", create)
    found["nobody asks for an unknown call"] = await post(address, context(None), "no-such-call", b"")
    with tempfile.TemporaryDirectory() as folder:
        other = context(foreign(Path(folder), manager_id, cluster_id))
        found["foreign manager creates a service"] = await post(address, other, "forwarded-control", create)
    found["garbage without TLS"] = await raw(address, os.urandom(4096))
    found["a giant length"] = await raw(
        address,
        b"POST /rpc/issue-certificate HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n",
        context(None),
    )
    found["garbage in TLS"] = await raw(address, struct.pack("<I", 1 << 31) + os.urandom(4096), context(None))
    found["garbage as a message"] = await post(address, context(None), "issue-certificate", b"\xc1" * 64)
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
