"""The two ends of a measurement, each run inside some network namespace: latency, throughput, name lookups.

python -m bench.wire serve 8000
python -m bench.wire connect HOST PORT COUNT     median µs from connect to the first byte
python -m bench.wire echo HOST PORT COUNT        median µs of one byte there and back
python -m bench.wire bulk HOST PORT SECONDS      Gbit/s
python -m bench.wire names SERVER NAME COUNT     questions a second, and the 99th percentile in µs
"""

from __future__ import annotations

import json
import socket
import statistics
import struct
import sys
import threading
import time

_CHUNK = 1 << 20
_WINDOW = 32  # questions under way at the same time


def serve(port: int) -> None:
    """One byte at once, then echo for `e` and silence for `b`."""
    listener = socket.create_server(("", port), backlog=512, family=socket.AF_INET6, dualstack_ipv6=True)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"!")  # before the thread is made: its cost is not the network's
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        try:
            if connection.recv(1) == b"e":
                while data := connection.recv(64):
                    connection.sendall(data)
            else:
                buffer = bytearray(_CHUNK)
                while connection.recv_into(buffer):
                    continue
        except ConnectionError:
            return  # the other end has measured enough


def _connected(host: str, port: int) -> socket.socket:
    made = socket.create_connection((host, port), timeout=10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if made.recv(1) != b"!":
        raise ConnectionError("the server ended the connection")
    return made


def connect(host: str, port: int, count: int) -> float:
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        with _connected(host, port):
            taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


def echo(host: str, port: int, count: int) -> float:
    taken = []
    with _connected(host, port) as connection:
        connection.sendall(b"e")
        for _ in range(count):
            start = time.perf_counter()
            connection.sendall(b"x")
            connection.recv(1)
            taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


def bulk(host: str, port: int, seconds: float) -> float:
    data = memoryview(bytes(_CHUNK))
    sent = 0
    with _connected(host, port) as connection:
        connection.sendall(b"b")
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            sent += connection.send(data)
        taken = time.perf_counter() - start
    return sent * 8 / taken / 1e9


def names(server: str, name: str, count: int) -> dict[str, float]:
    """A window of questions is kept under way; lost ones would show as a time-out."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    body = struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + question + b"\0" + struct.pack("!HH", 1, 1)
    taken: list[float] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(5)
        link.connect((server, 53))
        began: dict[int, float] = {}
        start = time.perf_counter()
        asked = 0
        while len(taken) < count:
            while asked < count and len(began) < _WINDOW:
                began[asked & 0xFFFF] = time.perf_counter()
                link.send(struct.pack("!H", asked & 0xFFFF) + body)
                asked += 1
            number = int.from_bytes(link.recv(4096)[:2], "big")
            taken.append(time.perf_counter() - began.pop(number))
        total = time.perf_counter() - start
    return {"rate": count / total, "p99": statistics.quantiles(taken, n=100)[98] * 1e6}


def reflect(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.bind((address, 53))
        print("ready", flush=True)
        while True:
            link.sendto(*link.recvfrom(4096))


def main() -> None:
    mode, *words = sys.argv[1:]
    match mode:
        case "serve":
            serve(int(words[0]))
        case "connect":
            print(json.dumps(connect(words[0], int(words[1]), int(words[2]))))
        case "echo":
            print(json.dumps(echo(words[0], int(words[1]), int(words[2]))))
        case "bulk":
            print(json.dumps(bulk(words[0], int(words[1]), float(words[2]))))
        case "names":
            print(json.dumps(names(words[0], words[1], int(words[2]))))
        case "reflect":
            reflect(words[0])
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
