"""The map says what the code says: every room, its sentence and its arrows; the picture is a picture of the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from xml.etree import ElementTree

from tests.arch.drawing import draw
from tests.arch.graph import PACKAGES, ROOT, Graph, first_sentence, modules, rooms
from tests.arch.layout import Box, in_rows, reduced, text_width, without_circles, wrap
from tests.arch.map import PICTURE, text


def graph(arrows: dict[str, str]) -> Graph:
    return {name: frozenset(targets) for name, targets in arrows.items()}


def test_the_map_has_every_room_with_its_sentence_and_its_arrows() -> None:
    said = " ".join(text().split())
    for room, targets in rooms().items():
        assert first_sentence(modules()[room].doc) in said
        for target in targets:
            assert target.partition(".")[2] in said
    assert all(f"\n{package}  " in f"\n{text()}" for package in PACKAGES)


def test_the_picture_has_every_room_once_and_is_well_formed() -> None:
    picture = ElementTree.fromstring(draw())
    space = "{http://www.w3.org/2000/svg}"
    names = [e.text for e in picture.iter(f"{space}text") if str(e.get("class")).startswith("name")]
    wanted = [room.partition(".")[2] + ("" if modules()[room].is_folder else ".py") for room in rooms()]
    assert sorted(map(str, names)) == sorted(wanted)


def test_the_picture_is_the_same_for_the_same_code() -> None:
    """In another process too, where sets have another order."""
    command = [sys.executable, "-c", "from tests.arch.drawing import draw; print(draw(), end='')"]
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert run.stdout == draw()


def test_the_committed_picture_is_drawn_from_this_code() -> None:
    assert PICTURE.read_text() == draw(), "run: make map"


def test_no_two_rooms_of_the_picture_lie_on_each_other() -> None:
    found = re.findall(
        r'<rect class="room[^"]*" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', draw()
    )
    boxes = [Box("", float(x), float(y), float(w), float(h)) for x, y, w, h in found]
    assert len(boxes) == len(rooms())
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            apart = one.x >= other.x + other.width or other.x >= one.x + one.width
            assert apart or one.y >= other.bottom or other.y >= one.bottom


def test_arrows_that_follow_from_others_are_left_out() -> None:
    assert reduced(graph({"a": "bc", "b": "c", "c": ""})) == graph({"a": "b", "b": "c", "c": ""})
    assert without_circles(graph({"a": "bc", "b": "a", "c": ""})) == graph({"a": "c", "b": "", "c": ""})


def test_rooms_stand_above_those_that_they_import_from() -> None:
    assert in_rows(graph({"a": "b", "b": "c", "c": "", "d": "c"}), 3) == [["a"], ["b", "d"], ["c"]]
    broken = in_rows(graph(dict.fromkeys("abcde", "")), 3)
    assert [len(row) for row in broken] == [3, 2]


def test_text_is_wrapped_to_its_box() -> None:
    lines = wrap(
        "What nodes say to each other: one file per conversation, in linux/netfilter/nfnetlink.h", 120, 10
    )
    assert all(text_width(line, 10) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "").startswith("Whatnodessay")


def test_the_overview_names_every_room() -> None:
    page = (ROOT / "docs/design/overview.md").read_text()
    table = page[page.index("## The rooms") : page.index("## From `service create`")]
    named = set(re.findall(r"`([\w/]+)`", table)) | {
        name.rstrip("/") for name in re.findall(r"`([\w/]+/)`", table)
    }
    assert [m.name for m in modules().values() if m.is_folder and m.name.replace(".", "/") not in named] == []
