"""A network namespace for each test, removed afterwards."""

from __future__ import annotations

import uuid

import pytest

from netoverlay.netns import Namespace, Namespaces


@pytest.fixture
def namespace(namespaces: Namespaces) -> Namespace:
    return namespaces.create(f"nft-{uuid.uuid4().hex[:8]}")
