"""No child outlives a caller that was cancelled."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE

import pytest

from swarmcore.process.children import communicate


async def test_output_and_errors_come_back_and_input_goes_in() -> None:
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "cat; echo no >&2", stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert await communicate(process, b"yes") == (b"yes", b"no\n")
    assert process.returncode == 0


async def test_what_is_no_pipe_says_nothing() -> None:
    process = await asyncio.create_subprocess_exec("true")
    assert await communicate(process) == (b"", b"")


async def test_a_child_ends_with_its_caller() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "1000", stdout=PIPE)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await communicate(process)
    assert process.returncode == -9
