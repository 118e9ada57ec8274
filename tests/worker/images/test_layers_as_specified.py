"""Layers unpacked and stacked by the kernel show what the OCI image specification says, whatever is in them."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarmcore.errors import Invalid
from tests.worker.images.archives import folder, link, member, tar
from tests.worker.images.spec_model import Entry, Refused, Tree
from worker.images.layers import unpack
from worker.images.limits import Budget, Limits
from worker.images.merged import is_opaque
from worker.runtime.mounts import unmount
from worker.runtime.overlay import mount_layers

pytestmark = pytest.mark.root

_PATHS = ["a", "b", "a/a", "a/b", "b/a", "a/b/a", "a/b/b", "b/a/a"]
_TARGETS = ["a", "b", "/a", "../b", "a/b", "/b/a", "missing"]
_FILE = st.builds(Entry, st.just("file"), st.sampled_from(_PATHS), st.sampled_from("123"))
_DIR = st.builds(Entry, st.just("dir"), st.sampled_from(_PATHS), st.sampled_from(["700", "711", "1777"]))
_LINK = st.builds(Entry, st.just("link"), st.sampled_from(_PATHS), st.sampled_from(_TARGETS))
_HARD = st.builds(Entry, st.just("hard"), st.sampled_from(_PATHS), st.sampled_from(_PATHS))
_GONE = st.builds(Entry, st.just("gone"), st.sampled_from(_PATHS))
_OPAQUE = st.builds(Entry, st.just("opaque"), st.sampled_from(["", *_PATHS]))
# Most layers make sense: a file in the way, or a link to nothing, ends the comparison.
_ENTRIES = st.one_of(_DIR, _DIR, _DIR, _FILE, _FILE, _GONE, _GONE, _OPAQUE, _LINK, _HARD)


def packed(entries: Sequence[Entry]) -> bytes:
    return tar(*map(_member, entries))


def _member(entry: Entry) -> tuple[tarfile.TarInfo, bytes]:
    above, _, name = entry.path.rpartition("/")
    match entry.kind:
        case "file":
            return member(entry.path, entry.text.encode())
        case "dir":
            return folder(entry.path, mode=int(entry.text, 8))
        case "link" | "hard":
            return link(entry.path, entry.text, hard=entry.kind == "hard")
        case "gone":
            return member(f"{above}/.wh.{name}".lstrip("/"))
        case _:
            return member(f"{entry.path}/.wh..wh..opq".lstrip("/"))


def stacked(base: Path, layers: Sequence[bytes]) -> list[str]:
    """The layers as directories, those to mount, from the lowest up."""
    names: list[str] = []
    for number, raw in enumerate(layers):
        target = base / str(number)
        target.mkdir()
        unpack(io.BytesIO(raw), target, Budget(Limits(), base), [base / name for name in reversed(names)])
        if is_opaque(target):
            names.clear()
        names.append(str(number))
    return names


def seen(base: Path, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What the kernel shows of them, stacked."""
    for own in ("upper", "work", "root"):
        (base / own).mkdir()
    before = Path.cwd()
    os.chdir(base)
    try:
        mount_layers(
            names, str(base / "root"), upper=f"{base}/upper", work=f"{base}/work", below=f"{base}/below"
        )
    finally:
        os.chdir(before)
    try:
        return dict(_listed(base / "root", ""))
    finally:
        unmount(str(base / "root"))


def _listed(folder: Path, path: str) -> list[tuple[str, tuple[str, str]]]:
    found: list[tuple[str, tuple[str, str]]] = []
    for each in folder.iterdir():
        status = each.lstat()
        name = f"{path}{each.name}"
        if stat.S_ISLNK(status.st_mode):
            found.append((name, ("link", str(each.readlink()))))
        elif stat.S_ISDIR(status.st_mode):
            found += [(name, ("dir", f"{stat.S_IMODE(status.st_mode):o}")), *_listed(each, f"{name}/")]
        else:
            found.append((name, ("file", each.read_text())))
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layers=st.lists(st.lists(_ENTRIES, max_size=6), min_size=1, max_size=4))
def test_any_layers_show_what_the_specification_says(tmp_path: Path, layers: list[list[Entry]]) -> None:
    base = tmp_path / secrets.token_hex(4)
    base.mkdir()
    tree = Tree()
    try:
        try:
            for entries in layers:
                tree.apply(entries)
        except Refused:
            with pytest.raises(Invalid):
                stacked(base, [packed(entries) for entries in layers])
            return
        assert seen(base, stacked(base, [packed(entries) for entries in layers])) == tree.shown()
    finally:
        shutil.rmtree(base)
