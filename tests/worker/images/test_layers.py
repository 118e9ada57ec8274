"""Layers are unpacked with all that matters, and never outside of their directory."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from swarmcore.errors import Invalid
from tests.worker.images.archives import folder, link, member, tar
from worker.images.keys import directory_name
from worker.images.layers import unpack
from worker.images.limits import Budget, Limits

pytestmark = pytest.mark.root


@pytest.fixture
def target(tmp_path: Path) -> Path:
    made = tmp_path / "deep" / "layer"
    made.mkdir(parents=True)
    return made


def unpacked(target: Path, *members: object) -> int:
    return unpack(io.BytesIO(tar(*members)), target, Budget(Limits(), target)).size  # type: ignore[arg-type]


def is_whiteout(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def test_files_keep_content_owner_mode_and_time(target: Path) -> None:
    size = unpacked(
        target,
        folder("bin"),
        member("bin/su", b"program", mode=0o4755, uid=7, gid=8, mtime=1_000_000),
        folder("t", mode=0o1777),
    )
    found = (target / "bin/su").stat()
    assert (size, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (7, 0o4755, 7, 8)
    assert found.st_mtime == 1_000_000
    assert stat.S_IMODE((target / "t").stat().st_mode) == 0o1777


def test_links_of_both_kinds_are_made(target: Path) -> None:
    unpacked(target, member("a", b"x", mode=0o600), link("b", "a", hard=True), link("c", "/etc/passwd"))
    assert (target / "a").stat().st_ino == (target / "b").stat().st_ino
    assert str((target / "c").readlink()) == "/etc/passwd"
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o600


def test_whiteouts_become_overlay_marks(target: Path) -> None:
    unpacked(
        target, member("etc/.wh.gone"), folder("opt"), member("opt/.wh..wh..opq"), member("opt/new", b"n")
    )
    assert is_whiteout(target / "etc/gone")
    assert os.getxattr(target / "opt", "trusted.overlay.opaque") == b"y"
    assert (target / "opt/new").read_bytes() == b"n"
    assert not list(target.rglob(".wh*"))


def test_a_whiteout_does_not_hide_what_its_own_layer_brings(target: Path) -> None:
    unpacked(
        target,
        member("a", b"kept"),
        member(".wh.a"),
        member(".wh.b"),
        member("b", b"new"),
        member(".wh.d"),
        folder("d"),
    )
    assert (target / "a").read_bytes() == b"kept"
    assert (target / "b").read_bytes() == b"new"
    assert os.getxattr(target / "d", "trusted.overlay.opaque") == b"y"


def test_later_members_replace_earlier_ones(target: Path) -> None:
    unpacked(target, member("x", b"1"), member("x", b"2"), link("l", "x"), member("l", b"file"))
    assert (target / "x").read_bytes() == b"2"
    assert not (target / "l").is_symlink()


def test_file_capabilities_are_kept_and_overlay_marks_of_others_ignored(target: Path) -> None:
    capability = b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    headers = {
        "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
    }
    unpacked(target, member("ping", b"x", pax_headers=headers))
    assert os.getxattr(target / "ping", "security.capability") == capability
    assert os.listxattr(target / "ping") == ["security.capability"]


@pytest.mark.parametrize(
    "name",
    ["../escape", "a/../../escape", "a/b/../../../escape"],
    ids=["up", "through", "deep"],
)
def test_paths_that_lead_out_are_refused(target: Path, name: str) -> None:
    with pytest.raises(Invalid, match="leads out of the image"):
        unpacked(target, member(name, b"x"))
    assert not list(target.parent.parent.glob("**/escape"))


def test_directory_links_are_followed_inside_the_image(target: Path) -> None:
    unpacked(
        target,
        folder("usr"),
        folder("usr/lib"),
        link("lib", "usr/lib"),
        link("top", "/../../usr"),
        member("lib/so", b"x"),
        member("top/y", b"y"),
    )
    assert (target / "usr/lib/so").read_bytes() == b"x"
    assert (target / "usr/y").read_bytes() == b"y"


@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_to_a_directory_of_the_host_leads_nowhere(
    target: Path, tmp_path: Path, absolute: bool
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    unpacked(target, link("trap", str(outside) if absolute else "../../outside"), member("trap/file", b"x"))
    assert list(outside.iterdir()) == []
    inside = target / (str(outside).lstrip("/") if absolute else "outside")
    assert (inside / "file").read_bytes() == b"x"


def test_a_member_does_not_write_through_a_link(target: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    unpacked(target, link("x", str(victim)), member("x", b"overwritten"))
    assert victim.read_text() == "safe"
    assert (target / "x").read_bytes() == b"overwritten"


@pytest.mark.parametrize("linked", ["../../victim", "/../../victim", "missing", "/etc/passwd", ""])
def test_hard_links_to_what_is_not_in_the_layer_are_refused(
    target: Path, tmp_path: Path, linked: str
) -> None:
    (tmp_path / "victim").write_text("safe")
    with pytest.raises(Invalid):
        unpacked(target, link("x", linked, hard=True))


@pytest.mark.parametrize("content", [b"garbage" * 300, b"\0" * 100])
def test_garbage_is_refused_in_one_line(target: Path, content: bytes) -> None:
    with pytest.raises(Invalid, match="tar archive") as failure:
        unpack(io.BytesIO(content), target, Budget(Limits(), target))
    assert "\n" not in str(failure.value)


def test_a_layer_cut_short_is_refused(target: Path) -> None:
    whole = tar(member("a", b"x" * 5000))
    with pytest.raises(Invalid):
        unpack(io.BytesIO(whole[:3000]), target, Budget(Limits(), target))


def test_directory_names_are_short_and_distinct() -> None:
    names = {directory_name(f"sha256:{number:064x}") for number in range(1 << 130, (1 << 137), 1 << 131)}
    assert {len(name) for name in names} == {26}
    assert directory_name("sha256:" + "a" * 64) != directory_name("sha256:" + "b" * 64)
