"""Which versions a path may ask for."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from pyswarmd.config import API_VERSION, MIN_API_VERSION
from pyswarmd.engine.door.versions import api_version, refusal_of


@pytest.mark.parametrize("path", ["/info", "/v1/info", f"/v{API_VERSION}/info", f"/v{MIN_API_VERSION}/info"])
def test_no_version_and_every_announced_one_pass(path: str) -> None:
    assert refusal_of(path) is None


@pytest.mark.parametrize(
    ("path", "why"),
    [("/v1.1/info", "too old"), ("/v9.0/info", "too new"), (f"/v1.{'9' * 10}/info", "is no version")],
)
def test_what_is_refused_says_why(path: str, why: str) -> None:
    assert why in (refusal_of(path) or "")


def test_a_path_without_a_version_means_the_newest() -> None:
    assert api_version(make_mocked_request("GET", "/info")) == tuple(map(int, API_VERSION.split(".")))
