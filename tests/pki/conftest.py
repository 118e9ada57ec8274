from __future__ import annotations

import pytest

from pki.root import RootAuthority


@pytest.fixture(scope="session")
def root() -> RootAuthority:
    return RootAuthority.create()
