"""Image names in all their forms."""

from __future__ import annotations

import pytest

from swarmcore.errors import Invalid
from swarmcore.text.image_reference import parse, parse_tagged

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "full", "shown"),
    [
        ("busybox", ("docker.io", "library/busybox", "", ""), "busybox"),
        ("busybox:1.36", ("docker.io", "library/busybox", "1.36", ""), "busybox:1.36"),
        ("docker.io/library/busybox:1", ("docker.io", "library/busybox", "1", ""), "busybox:1"),
        ("index.docker.io/a/b", ("docker.io", "a/b", "", ""), "a/b"),
        ("me/app", ("docker.io", "me/app", "", ""), "me/app"),
        ("host:5000/app", ("host:5000", "app", "", ""), "host:5000/app"),
        ("localhost/app:x", ("localhost", "app", "x", ""), "localhost/app:x"),
        ("r.example/a/b/c:t@" + DIGEST, ("r.example", "a/b/c", "t", DIGEST), "r.example/a/b/c:t@" + DIGEST),
    ],
)
def test_references_are_normalized_and_shown_short(text: str, full: tuple[str, ...], shown: str) -> None:
    found = parse(text)
    assert (found.domain, found.path, found.tag, found.digest) == full
    assert str(found) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Upper",
        "a//b",
        "a:",
        "a:b:c",
        "a@sha256:12",
        "a@md5:x",
        "-a",
        "a b",
        "ab" * 32,
        "a/" + "b" * 300,
        ":tag",
    ],
)
def test_malformed_references_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(Invalid, match="invalid image reference") as failure:
        parse(text)
    assert "\n" not in str(failure.value)


def test_a_name_to_give_has_a_tag_and_no_digest() -> None:
    assert str(parse_tagged("app")) == "app:latest"
    with pytest.raises(Invalid, match="must not carry a digest"):
        parse_tagged("app@" + DIGEST)
