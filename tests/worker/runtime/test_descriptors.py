"""File descriptors: raised, counted, and refused to containers before the daemon itself has none left."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmcore.errors import FailedPrecondition
from worker.runtime.descriptors import PER_CONTAINER, Descriptors, current, in_use, of_this_process, reserve

ROOT = Path(__file__).resolve().parents[3]


def with_limits(soft: int, hard: int, code: str) -> str:
    """What a fresh process with these limits prints."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, preexec_fn=limited
    )
    return done.stdout.strip()


def test_a_shells_soft_limit_is_raised_to_the_hard_one_and_told() -> None:
    code = "from worker.runtime.descriptors import *; print(raise_limit(), current(), raise_limit())"
    assert with_limits(1024, 4096, code) == "Limit(soft=1024, hard=4096) 4096 Limit(soft=4096, hard=4096)"


def test_what_is_in_use_is_counted() -> None:
    before = in_use()
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(10)]
    assert in_use() == before + 10
    for fd in opened:
        os.close(fd)
    assert in_use(str(os.getpid())) == before
    assert of_this_process().room() <= current() // PER_CONTAINER


@given(st.integers(16, 1 << 20), st.integers(0, 1 << 20))
def test_there_is_no_room_before_the_daemons_own_part(limit: int, used: int) -> None:
    counted = Descriptors(lambda: limit, lambda: used)
    room = counted.room()
    assert room == 0 or used + room * PER_CONTAINER + reserve(limit) <= limit
    assert 0 < reserve(limit) <= limit // 4
    if room == 0:
        with pytest.raises(FailedPrecondition, match=f"{used} of {limit} are in use") as refused:
            counted.check()
        assert "LimitNOFILE" in refused.value.hint
    else:
        counted.check()
