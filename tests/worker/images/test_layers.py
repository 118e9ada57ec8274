"""Layers are unpacked with all that matters, and never outside of their directory."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def unpacked(target: Path, *members: object, below: Sequence[Path] = ()) -> int:
    raw = io.BytesIO(tar(*members))  # type: ignore[arg-type]
    return unpack(raw, target, Budget(Limits(), target), below).size


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    """A layer below."""
    made = tmp_path / "lower"
    made.mkdir()
    unpacked(
        made, member("etc/gone", b"x"), member("opt/old", b"x"), member("d/old", b"x"), member("b", b"x")
    )
    return made


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


def test_whiteouts_become_overlay_marks(target: Path, lower: Path) -> None:
    unpacked(
        target,
        member("etc/.wh.gone"),
        folder("opt"),
        member("opt/.wh..wh..opq"),
        member("opt/new", b"n"),
        member("opt/.wh.none"),
        below=[lower],
    )
    assert is_whiteout(target / "etc/gone")
    assert os.getxattr(target / "opt", "trusted.overlay.opaque") == b"y"
    assert (target / "opt/new").read_bytes() == b"n"
    assert not list(target.rglob(".wh*"))
    assert not (target / "opt/none").is_char_device()  # nothing is there to be hidden


def test_a_whiteout_does_not_hide_what_its_own_layer_brings(target: Path, lower: Path) -> None:
    unpacked(
        target,
        member("a", b"kept"),
        member(".wh.a"),
        member(".wh.b"),
        member("b", b"new"),
        member(".wh.d"),
        folder("d"),
        below=[lower],
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


# -- what lies below -------------------------------------------------------------------------------------
def test_directories_that_a_layer_does_not_list_stay_as_they_are(target: Path, tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    unpacked(
        lower,
        folder("srv", mode=0o2750, uid=33, gid=34, mtime=1_000, pax_headers={"SCHILY.xattr.user.a": "b"}),
        folder("srv/in", mode=0o1777, mtime=2_000),
    )
    unpacked(target, member("srv/in/new", b"x"), member("other/new", b"x"), below=[lower])
    found = (target / "srv").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime) == (
        0o2750,
        33,
        34,
        1_000,
    )
    assert os.getxattr(target / "srv", "user.a") == b"b"
    assert (stat.S_IMODE((target / "srv/in").stat().st_mode), (target / "srv/in").stat().st_mtime) == (
        0o1777,
        2_000,
    )
    assert stat.S_IMODE((target / "other").stat().st_mode) == 0o755


def test_links_of_lower_layers_are_followed_to_where_they_lead(target: Path, tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    unpacked(lower, folder("usr/lib", mode=0o711), link("lib", "usr/lib"))
    unpacked(target, member("lib/so", b"x"), below=[lower])
    assert (target / "usr/lib/so").read_bytes() == b"x"
    assert stat.S_IMODE((target / "usr/lib").stat().st_mode) == 0o711
    assert not (target / "lib").exists()


def test_a_directory_that_is_listed_replaces_a_link_below(target: Path, tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    unpacked(lower, folder("usr/lib"), link("lib", "usr/lib"))
    unpacked(target, folder("lib"), member("lib/so", b"x"), below=[lower])
    assert (target / "lib/so").read_bytes() == b"x"


@pytest.mark.parametrize("kind", ["file", "link", "fifo"])
def test_hard_links_to_lower_layers_bring_a_copy_with_all_that_it_has(
    target: Path, tmp_path: Path, kind: str
) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    fields: dict[str, Any] = {"mode": 0o4751, "uid": 7, "gid": 8, "mtime": 1_000}
    original = {
        "file": member("bin/a", b"program", pax_headers={"SCHILY.xattr.user.a": "b"}, **fields),
        "link": member("bin/a", type=tarfile.SYMTYPE, linkname="/else", **fields),
        "fifo": member("bin/a", type=tarfile.FIFOTYPE, **fields),
    }[kind]
    unpacked(lower, folder("bin", mode=0o710), original)
    size = unpacked(target, link("sbin/b", "bin/a", hard=True), below=[lower])
    one, two = (target / "bin/a").lstat(), (target / "sbin/b").lstat()
    assert one.st_ino == two.st_ino
    assert (one.st_uid, one.st_gid, one.st_mtime, stat.S_IFMT(one.st_mode)) == (
        7,
        8,
        1_000,
        stat.S_IFMT((lower / "bin/a").lstat().st_mode),
    )
    assert stat.S_IMODE((target / "bin").stat().st_mode) == 0o710
    if kind == "file":
        assert ((target / "sbin/b").read_bytes(), stat.S_IMODE(two.st_mode), size) == (b"program", 0o4751, 7)
        assert os.getxattr(target / "sbin/b", "user.a") == b"b"


def test_a_hard_link_to_what_was_removed_is_refused(target: Path, lower: Path) -> None:
    with pytest.raises(Invalid, match="is no file there"):
        unpacked(target, member("etc/.wh.gone"), link("x", "etc/gone", hard=True), below=[lower])


def test_a_file_of_its_own_layer_is_no_directory(target: Path) -> None:
    with pytest.raises(Invalid, match="as a directory, which it is not"):
        unpacked(target, member("a", b"x"), member("a/b", b"x"))


# -- replacing -------------------------------------------------------------------------------------------
def test_a_file_replaces_a_full_directory(target: Path) -> None:
    unpacked(target, folder("a/b"), member("a/b/c", b"x"), member("a", b"file"))
    assert (target / "a").read_bytes() == b"file"


def test_a_directory_that_comes_back_hides_what_lies_below(target: Path, lower: Path) -> None:
    unpacked(target, member("opt", b"file"), folder("opt"), below=[lower])
    assert os.getxattr(target / "opt", "trusted.overlay.opaque") == b"y"


def test_what_a_link_leads_to_is_looked_up_for_every_member(target: Path) -> None:
    """The second member replaces the very link that it came through."""
    unpacked(target, link("a/b", "/a"), folder("a/b/b"), member("a/b/a", b"x"))
    assert (target / "a/b/a").read_bytes() == b"x"


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh."])
def test_malformed_whiteouts_are_refused(target: Path, name: str) -> None:
    with pytest.raises(Invalid, match="malformed whiteout"):
        unpacked(target, member(name))


def test_the_own_files_of_aufs_are_no_part_of_the_image(target: Path) -> None:
    unpacked(
        target,
        member(".wh..wh.aufs"),
        folder(".wh..wh.orph"),
        member(".wh..wh.plnk/12.34", b"linked"),
        link("a", ".wh..wh.plnk/12.34", hard=True),
        link("b", ".wh..wh.plnk/12.34", hard=True),
    )
    assert sorted(path.name for path in target.iterdir()) == ["a", "b"]
    assert (target / "a").read_bytes() == b"linked"


# -- attributes ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("mtime", "kept"),
    [
        ("1.25", 1_250_000_000),
        ("-5", 0),
        ("2100000000", 2_100_000_000 * 10**9),
        ("9223372037", 0),
        ("9" * 18, 0),
    ],
)
def test_times_are_exact_and_impossible_ones_the_epoch(target: Path, mtime: str, kept: int) -> None:
    unpacked(
        target, member("a", b"x", pax_headers={"mtime": mtime}), folder("d", pax_headers={"mtime": mtime})
    )
    assert [(target / name).stat().st_mtime_ns for name in "ad"] == [kept, kept]


def test_the_root_has_attributes_too(target: Path) -> None:
    unpacked(target, folder("./", mode=0o711, uid=5, gid=6, mtime=1_000))
    found = target.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime) == (0o711, 5, 6, 1_000)


def test_special_files_are_made(target: Path) -> None:
    unpacked(
        target,
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("disk", type=tarfile.BLKTYPE, devmajor=7, devminor=0, mode=0o660, gid=6),
        member("pipe", type=tarfile.FIFOTYPE, mode=0o600),
    )
    assert (target / "null").lstat().st_rdev == os.makedev(1, 3)
    assert (target / "disk").is_block_device() and (target / "disk").lstat().st_gid == 6
    assert (target / "pipe").is_fifo()


@pytest.mark.parametrize(
    "wrong",
    [
        member("x" * 256, b""),
        member("/".join(["d" * 200] * 25), b""),
        member("a", pax_headers={"uid": str(1 << 32)}),
        member("a", pax_headers={"uid": str((1 << 32) - 1)}),
        member("a", pax_headers={"gid": str(1 << 60)}),
        member("a", type=tarfile.CHRTYPE, devmajor=(1 << 40), devminor=1),
        member("a", type=b"V"),
        link("a", ""),
        link("a", "x" * 5000),
        member("a", pax_headers={"SCHILY.xattr.security.capability": "nonsense"}),
        member("a", pax_headers={"SCHILY.xattr.user." + "n" * 300: "x"}),
        member("a", pax_headers={"SCHILY.xattr.user.a": "x" * 70_000}),
        member("a\0b", pax_headers={"path": "a\0b"}),
        link("a", "b", hard=True),
        link("a", "/", hard=True),
        link("a", "..", hard=True),
    ],
    ids=["name", "path", "owner", "nobody", "group", "device", "type", "no target", "long target", "capability",
         "attribute", "large attribute", "nul", "no file", "root", "above"],
)  # fmt: skip
def test_what_cannot_be_made_is_refused_in_one_line(
    target: Path, wrong: tuple[tarfile.TarInfo, bytes]
) -> None:
    with pytest.raises(Invalid) as failure:
        unpack(io.BytesIO(gnu(wrong)), target, Budget(Limits(), target))
    assert len(str(failure.value)) < 400 and "\n" not in str(failure.value)


def gnu(entry: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Numbers that PAX has no room for are binary in GNU's format."""
    if not entry[0].pax_headers and entry[0].type == tarfile.CHRTYPE:
        return entry[0].tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    return tar(entry)


def test_sparse_files_keep_their_holes(target: Path, tmp_path: Path) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as out:
        out.seek(50 << 20)
        out.write(b"end")
        out.truncate(100 << 20)
    command = ["tar", "-C", str(tmp_path), "--format=posix", "-cS", "sparse"]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    assert unpack(io.BytesIO(raw), target, Budget(Limits(), target)).size == 100 << 20
    found = (target / "sparse").stat()
    assert found.st_size == 100 << 20 and found.st_blocks * 512 < 1 << 20
    with (target / "sparse").open("rb") as made:
        made.seek((50 << 20) - 1)
        assert made.read(5) == b"\0end\0"


def test_directory_names_are_short_and_distinct() -> None:
    names = {directory_name(f"sha256:{number:064x}") for number in range(1 << 130, (1 << 137), 1 << 131)}
    assert {len(name) for name in names} == {26}
    assert directory_name("sha256:" + "a" * 64) != directory_name("sha256:" + "b" * 64)
