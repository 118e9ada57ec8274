"""Namespaces of the test's own, and two hosts joined by a wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netoverlay.netns import Namespaces
from tests.netoverlay.hosts import Host, joined_hosts


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
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    yield from joined_hosts(tmp_path)
