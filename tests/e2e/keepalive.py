"""Keep-alive connections from wherever it is run: each sends line after line and wants each back.

    python -m tests.e2e.keepalive tcp://10.0.5.2:7 --until-eof --parallel 8 --lines 20

Until its standard input is closed, each of the connections sends so many lines, one after the other, then ends and is
made anew. Prints what came of them as JSON, as `traffic` does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from datetime import UTC, datetime
from urllib.parse import urlsplit

from tests.e2e.connecting import connect

PATIENCE = 5.0
PAUSE = 0.01  # seconds between two lines: a connection outlives several changes of the table


class Conversations:
    def __init__(self, url: str, lines: int, *, patient: bool) -> None:
        self._patient = patient
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        self._address, self._port, self._lines = parts.hostname, parts.port, lines
        self.stopped = False
        self.answers: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    async def worker(self) -> None:
        while not self.stopped:
            progress = ["connecting"]
            try:
                await self._one(progress)
            except (OSError, TimeoutError, ValueError) as error:
                # UTC, as in the daemons' logs.
                at = datetime.now(UTC).time().isoformat("milliseconds")
                self.errors[f"{type(error).__name__}: {error} ({progress[-1]}, at {at})"] += 1

    async def _one(self, progress: list[str]) -> None:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await connect(self._address, self._port, patient=self._patient)
        begun = datetime.now(UTC).time().isoformat("milliseconds")
        try:
            for number in range(self._lines):
                progress.append(f"line {number} of a connection begun at {begun}")
                line = f"line {number}\n".encode()
                async with asyncio.timeout(PATIENCE):
                    writer.write(line)
                    answer = await reader.readline()
                if answer != line:
                    raise ValueError(f"{answer!r} came back")
                self.answers["line"] += 1
                await asyncio.sleep(PAUSE)
            self.answers["connection"] += 1
        finally:
            writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--until-eof", action="store_true", required=True)
    parser.add_argument("--patient", action="store_true", help="see connecting.py")
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--lines", type=int, default=20)
    given = parser.parse_args()
    conversations = Conversations(given.url, given.lines, patient=given.patient)
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            conversations.stopped = True
            loop.remove_reader(0)

    loop.add_reader(0, read)
    await asyncio.gather(*(conversations.worker() for _ in range(given.parallel)))
    print(json.dumps({"answers": conversations.answers, "errors": conversations.errors}))


asyncio.run(main())
