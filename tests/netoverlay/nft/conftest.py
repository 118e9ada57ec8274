"""A network namespace for each test, removed afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from netoverlay.netns import Namespace, Namespaces


@pytest.fixture
def namespaces(tmp_path: Path) -> Iterator[Namespaces]:
    made = Namespaces(tmp_path / "netns")
    try:
        yield made
    finally:
        for name in made.names():
            made.remove(name)
        made.close()


@pytest.fixture
def namespace(namespaces: Namespaces) -> Namespace:
    return namespaces.create(f"nft-{uuid.uuid4().hex[:8]}")
