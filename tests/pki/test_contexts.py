"""Real handshakes over sockets on the loopback interface."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from pki.contexts import Contexts, client_context, pinned_context, server_context, unverified_context
from pki.csr import make_csr
from pki.identity import identify
from pki.keys import new_key
from pki.keystore import KeyStore
from pki.root import RootAuthority
from swarmcore.clock import AgreedClock, RealClock
from swarmcore.model.node import NodeRole
from tests.pki.clock import ManualClock
from tests.pki.nodes import CLUSTER, node

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def whoami(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A server that answers each line with the client's node id and role; `-` without a certificate."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readline():
                der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                who = identify(der, CLUSTER, RealClock().now()) if der else None
                writer.write(f"{who.node_id} {who.role}\n".encode() if who else b"-\n")
                await writer.drain()
        except (ssl.SSLError, ConnectionError):
            return  # the test looks at the client's side
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connect(port: int, context: ssl.SSLContext) -> Connection:
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="swarm-manager")


async def ask(connection: Connection) -> str:
    reader, writer = connection
    writer.write(b"who am I\n")
    await writer.drain()
    answer = await reader.readline()
    if not answer:
        raise ConnectionResetError("closed by the server")
    return answer.decode().strip()


async def hang_up(*connections: Connection) -> None:
    for _, writer in connections:
        writer.close()
        try:
            await writer.wait_closed()
        except (ssl.SSLError, ConnectionError):
            continue


def serial(connection: Connection) -> str:
    return str(connection[1].get_extra_info("peercert")["serialNumber"])


def renew(root: RootAuthority, keystore: KeyStore, role: NodeRole) -> None:
    key = new_key()
    keystore.save(key, root.sign(make_csr(key), keystore.node_id, role, CLUSTER), root.cert_pem)


async def test_a_worker_meets_a_manager_in_tls_1_3(root: RootAuthority, tmp_path: Path) -> None:
    manager = node(root, tmp_path, "manager1", NodeRole.MANAGER)
    worker = node(root, tmp_path, "worker1")
    async with whoami(server_context(manager)) as port:
        connection = await connect(port, client_context(worker))
        assert await ask(connection) == "worker1 worker"
        assert connection[1].get_extra_info("ssl_object").version() == "TLSv1.3"
        await hang_up(connection)


async def test_a_locked_manager_serves_with_its_encrypted_key(root: RootAuthority, tmp_path: Path) -> None:
    manager = node(root, tmp_path, "manager1", NodeRole.MANAGER, kek=bytes(32))
    async with whoami(server_context(manager)) as port:
        connection = await connect(port, pinned_context(root.cert_pem))
        assert await ask(connection) == "-"
        await hang_up(connection)


async def test_a_joiner_without_certificate_may_connect(root: RootAuthority, tmp_path: Path) -> None:
    manager = node(root, tmp_path, "manager1", NodeRole.MANAGER)
    async with whoami(server_context(manager)) as port:
        for context in (unverified_context(), pinned_context(root.cert_pem)):
            connection = await connect(port, context)
            assert await ask(connection) == "-"
            await hang_up(connection)


async def test_a_client_takes_neither_a_worker_nor_a_foreign_manager_for_its_manager(
    root: RootAuthority, tmp_path: Path
) -> None:
    client = client_context(node(root, tmp_path, "worker1"))
    foreign = RootAuthority.create()
    for server in (node(root, tmp_path, "worker2"), node(foreign, tmp_path, "manager9", NodeRole.MANAGER)):
        async with whoami(server_context(server)) as port:
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(port, client)


@pytest.mark.parametrize("case", ["another swarm's root", "an expired certificate"])
async def test_a_manager_refuses(root: RootAuthority, tmp_path: Path, case: str) -> None:
    manager = node(root, tmp_path, "manager1", NodeRole.MANAGER)
    past = ManualClock(RealClock().now() - timedelta(days=2))
    issuer = (
        RootAuthority.create()
        if case.startswith("another")
        else RootAuthority(root.cert_pem, root.key_pem, past)
    )
    stranger = client_context(node(issuer, tmp_path, "stranger", life=timedelta(hours=1)))
    stranger.load_verify_locations(cadata=root.cert_pem.decode())
    async with whoami(server_context(manager)) as port:
        # In TLS 1.3 the client learns of the refusal with the first answer, not in its handshake.
        connection = await connect(port, stranger)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await ask(connection)
        await hang_up(connection)


@pytest.mark.parametrize("side", ["the manager", "the worker"])
async def test_a_clock_that_was_set_back_refuses_nobody(
    root: RootAuthority, tmp_path: Path, side: str
) -> None:
    """A certificate that is not valid yet says only that two clocks differ."""
    now = RealClock().now()
    back = ManualClock(now - timedelta(days=30))
    manager = node(root, tmp_path, "manager1", NodeRole.MANAGER)
    worker = node(root, tmp_path, "worker1")
    server = server_context(manager, back.now if side == "the manager" else RealClock().now)
    client = client_context(worker, back.now if side == "the worker" else RealClock().now)
    async with whoami(server) as port:
        connection = await connect(port, client)
        assert await ask(connection) == "worker1 worker"
        await hang_up(connection)


async def test_the_end_of_a_certificate_is_judged_by_the_clock_that_is_given(
    root: RootAuthority, tmp_path: Path
) -> None:
    ahead = ManualClock(RealClock().now() + timedelta(days=100))
    manager = node(root, tmp_path, "manager1", NodeRole.MANAGER)
    worker = node(root, tmp_path, "worker1")
    async with whoami(server_context(manager)) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
            await connect(port, client_context(worker, ahead.now))
    async with whoami(server_context(manager, ahead.now)) as port:
        connection = await connect(port, client_context(worker))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await ask(connection)
        await hang_up(connection)
    # With both hosts' clocks wrong, and the majority's known, they meet.
    agreed = AgreedClock(ahead)
    agreed.told(RealClock().now().timestamp())
    async with whoami(server_context(manager, agreed.now)) as port:
        connection = await connect(port, client_context(worker, agreed.now))
        assert await ask(connection) == "worker1 worker"
        await hang_up(connection)


async def test_renewal_drops_no_connection_and_counts_from_the_next_handshake(
    root: RootAuthority, tmp_path: Path
) -> None:
    manager = node(root, tmp_path, "manager1", NodeRole.MANAGER)
    worker = node(root, tmp_path, "worker1")
    server_side, client_side = Contexts(manager), Contexts(worker)
    async with whoami(server_side.server) as port:
        old = await connect(port, client_side.client_now())
        assert await ask(old) == "worker1 worker"
        renew(root, manager, NodeRole.MANAGER)
        renew(root, worker, NodeRole.MANAGER)
        server_side.reload()
        client_side.reload()
        assert await ask(old) == "worker1 worker"
        new = await connect(port, client_side.client_now())
        assert await ask(new) == "worker1 manager"
        assert serial(new) == f"{manager.certificate.serial_number:X}".zfill(len(serial(new)))
        assert serial(new) != serial(old)
        assert await ask(old) == "worker1 worker"
        await hang_up(old, new)
