"""A host and a container as two namespaces with nothing but a loopback each, and name servers to forward to."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from netoverlay.dns.limits import Limits
from netoverlay.dns.server import DnsServer
from netoverlay.netns import Namespace, Namespaces
from swarmcore.aio import Tasks

# What an upstream does with a question: the answers to send, after an own time.
Script = Callable[[bytes], Awaitable[list[bytes]]]


@pytest.fixture
def namespaces(tmp_path: Path) -> Iterator[Namespaces]:
    """All namespaces that a test makes in it are gone afterwards."""
    made = Namespaces(tmp_path / "netns")
    try:
        yield made
    finally:
        for name in made.names():
            made.remove(name)
        made.close()


@pytest.fixture
def home(namespaces: Namespaces) -> Namespace:
    return namespaces.create(f"dnshome{uuid.uuid4().hex[:8]}")


@pytest.fixture
def box(namespaces: Namespaces) -> Namespace:
    return namespaces.create(f"dnsbox{uuid.uuid4().hex[:8]}")


@pytest.fixture
async def server(home: Namespace) -> AsyncIterator[DnsServer]:
    """Impatient, and with the namespace `home` as its host."""
    made = DnsServer(
        Random(1), Limits(timeout=0.5, resend=0.2, idle=0.3, connections=4, outstanding=2), home=home
    )
    await made.open()
    yield made
    await made.close()


class FakeUpstream:
    """A name server in a namespace, over UDP and TCP, that does what its script says."""

    def __init__(
        self, namespace: Namespace, address: str, script: Script, stream: Script | None = None
    ) -> None:
        self.heard: list[bytes] = []
        self.heard_streams: list[bytes] = []
        self._script, self._stream = script, stream or script
        self._tasks = Tasks()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._udp = namespace.socket(family, socket.SOCK_DGRAM)
        self._tcp = namespace.socket(family, socket.SOCK_STREAM)
        for sock in (self._udp, self._tcp):
            sock.setblocking(False)
            sock.bind((address, 53))
        self._tcp.listen()
        self._tasks.start(self._datagrams(), name="upstream udp")
        self._tasks.start(self._streams(), name="upstream tcp")

    async def _datagrams(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            question, sender = await loop.sock_recvfrom(self._udp, 4096)
            self.heard.append(question)
            self._tasks.start(self._answer(question, sender), name="upstream answer")

    async def _answer(self, question: bytes, sender: object) -> None:
        for answer in await self._script(question):
            await asyncio.get_running_loop().sock_sendto(self._udp, answer, sender)  # type: ignore[arg-type]

    async def _streams(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._tcp)
            with sock:
                question = (await loop.sock_recv(sock, 4096))[2:]
                self.heard_streams.append(question)
                for answer in await self._stream(question):
                    await loop.sock_sendall(sock, len(answer).to_bytes(2, "big") + answer)

    async def close(self) -> None:
        await self._tasks.close()
        self._udp.close()
        self._tcp.close()


@pytest.fixture
async def upstreams() -> AsyncIterator[Callable[..., FakeUpstream]]:
    made: list[FakeUpstream] = []

    def start(
        namespace: Namespace, address: str, script: Script, stream: Script | None = None
    ) -> FakeUpstream:
        made.append(FakeUpstream(namespace, address, script, stream))
        return made[-1]

    yield start
    for each in made:
        await each.close()


class Client:
    """Asks the container's name server as a program in the container does."""

    def __init__(self, namespace: Namespace, port: int) -> None:
        self.namespace, self.port = namespace, port

    def datagrams(self) -> socket.socket:
        sock = self.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect(("127.0.0.11", self.port))
        return sock

    async def ask(self, question: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with self.datagrams() as sock:
            await loop.sock_sendall(sock, question)
            async with asyncio.timeout(20):
                return await loop.sock_recv(sock, 65_535)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = self.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.11", self.port))
        return await asyncio.open_connection(sock=sock)

    async def ask_stream(self, *questions: bytes) -> list[bytes]:
        """All at once on one connection; as many answers as questions, in the order they came."""
        reader, writer = await self.connect()
        try:
            writer.write(framed(*questions))
            return [await read_framed(reader) for _ in questions]
        finally:
            writer.close()
            await writer.wait_closed()


def framed(*messages: bytes) -> bytes:
    return b"".join(len(each).to_bytes(2, "big") + each for each in messages)


async def read_framed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        length = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(length)
