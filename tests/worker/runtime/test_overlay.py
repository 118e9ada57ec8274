"""Layers are stacked as the image has them: equal ones, many, and both at once, on new kernels and old ones."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.runtime.mounts import unmount
from worker.runtime.overlay import MOST, distinct, mount_layers, takes_one_by_one

_WAYS = [pytest.param(True, id="one by one"), pytest.param(False, id="one page of options")]


# -- equal layers: a model of what overlayfs shows -------------------------------------------------------
_PATHS = ("a", "a/b", "a/b/c", "d")
_GONE, _DIRECTORY, _OPAQUE = "gone", "directory", "opaque"


def _shown(layers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The merged tree: a directory merges with directories below it until something else comes."""
    found: dict[str, str] = {}

    def look(path: str, below: Sequence[Mapping[str, str]]) -> None:
        stack = [layer for layer in below if path in layer]
        if not stack or stack[0][path] == _GONE:
            return
        if stack[0][path] not in (_DIRECTORY, _OPAQUE):
            found[path] = stack[0][path]
            return
        merged = []
        for layer in stack:
            if layer[path] not in (_DIRECTORY, _OPAQUE):
                break
            merged.append(layer)
            if layer[path] == _OPAQUE:
                break
        found[path] = _DIRECTORY
        for child in _PATHS:
            if child.rpartition("/")[0] == path:
                look(child, merged)

    for path in _PATHS:
        if "/" not in path:
            look(path, list(reversed(layers)))
    return found


@st.composite
def _layer(draw: st.DrawFn) -> dict[str, str]:
    made: dict[str, str] = {}
    for path in _PATHS:
        parent = path.rpartition("/")[0]
        if parent and made.get(parent) not in (_DIRECTORY, _OPAQUE):
            continue
        kind = draw(st.sampled_from(["", _GONE, _DIRECTORY, _OPAQUE, "file 1", "file 2"]))
        if kind:
            made[path] = kind
    return made


@given(st.lists(_layer(), min_size=1, max_size=4), st.lists(st.integers(0, 3), min_size=1, max_size=7))
def test_only_the_highest_of_equal_layers_is_needed(kinds: list[dict[str, str]], picks: list[int]) -> None:
    names = [str(pick % len(kinds)) for pick in picks]
    kept = distinct(names)
    assert len(set(kept)) == len(kept)
    assert _shown([kinds[int(name)] for name in kept]) == _shown([kinds[int(name)] for name in names])


# -- real mounts -----------------------------------------------------------------------------------------
class Stack:
    """Layers in a directory; each is named as long as real ones are."""

    def __init__(self, base: Path) -> None:
        self.layers, self.own, self.target = base / "layers", base / "own", base / "own/rootfs"
        for folder in (self.layers, self.own / "upper", self.own / "work", self.target):
            folder.mkdir(parents=True)

    def add(self, number: int, files: Mapping[str, str]) -> str:
        name = f"{number:026d}"
        for path, text in files.items():
            file = self.layers / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if text == _GONE:
                os.mknod(file, 0o020000, os.makedev(0, 0))
            else:
                file.write_text(text)
        return name

    @contextmanager
    def mounted(self, names: Sequence[str], *, one_by_one: bool) -> Iterator[Path]:
        before = Path.cwd()
        os.chdir(self.layers)
        try:
            own = str(self.own)
            mount_layers(
                names,
                str(self.target),
                upper=f"{own}/upper",
                work=f"{own}/work",
                below=f"{own}/below",
                one_by_one=one_by_one,
            )
        finally:
            os.chdir(before)
        try:
            yield self.target
        finally:
            assert unmount(str(self.target))
            assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if own in line]


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


@pytest.mark.root
@pytest.mark.parametrize("one_by_one", _WAYS)
def test_equal_layers_are_mounted_and_the_last_one_wins(stack: Stack, one_by_one: bool) -> None:
    again = stack.add(1, {"a": "again"})
    between = stack.add(2, {"a": "between", "b": "b"})
    with stack.mounted([again, between, again, again], one_by_one=one_by_one) as root:
        assert {path.name: path.read_text() for path in root.iterdir()} == {"a": "again", "b": "b"}


@pytest.mark.root
@pytest.mark.parametrize("one_by_one", _WAYS)
@pytest.mark.parametrize("count", [1, 128, 200, 250])
def test_any_number_of_layers_is_mounted_with_what_each_hides(
    stack: Stack, count: int, one_by_one: bool
) -> None:
    names = [stack.add(0, {"gone": "x", "d/gone": "x", "top": "0", "f0": "0"})]
    names += [stack.add(n, {"top": str(n), f"f{n}": str(n)}) for n in range(1, count)]
    names.append(stack.add(count, {"gone": _GONE, "d/gone": _GONE}))
    with stack.mounted(names, one_by_one=one_by_one) as root:
        assert {path.name for path in root.iterdir()} == {"d", "top", *(f"f{n}" for n in range(count))}
        assert (root / "top").read_text() == str(count - 1)
        assert list((root / "d").iterdir()) == []
        (root / "new").write_text("written")
        assert (stack.own / "upper/new").read_text() == "written"


@pytest.mark.root
@pytest.mark.skipif(not takes_one_by_one(), reason="the kernel is older than Linux 6.7")
def test_more_than_one_overlay_can_have_is_stacked_in_two(stack: Stack) -> None:
    names = [stack.add(n, {f"f{n}": ""}) for n in range(MOST + 150)]
    with stack.mounted(names, one_by_one=True) as root:
        assert len(list(root.iterdir())) == len(names)


@pytest.mark.root
def test_a_long_path_of_its_own_is_no_limit(tmp_path: Path) -> None:
    stack = Stack(tmp_path / ("p" * 120) / ("q" * 120))
    names = [stack.add(n, {f"f{n}": ""}) for n in range(200)]
    with stack.mounted(names, one_by_one=True) as root:
        assert len(list(root.iterdir())) == len(names)


@pytest.mark.root
def test_more_layers_than_the_kernel_takes_are_refused_in_one_line(stack: Stack) -> None:
    names = [f"{number:026d}" for number in range(2 * MOST + 1)]
    with (
        pytest.raises(OSError, match="cannot stack the 1001 layers") as failure,
        stack.mounted(names, one_by_one=True),
    ):
        pass
    assert failure.value.errno == errno.E2BIG


def test_nothing_is_dropped_of_layers_that_differ() -> None:
    assert distinct(["a", "b", "c"]) == ["a", "b", "c"]
    assert distinct(["a", "b", "a"]) == ["b", "a"]
