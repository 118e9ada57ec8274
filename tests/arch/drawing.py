"""The map as a picture: an SVG from the import graph, the same bytes for the same code.

Packages are panels, one below those that import from it. In a panel a room stands above the rooms of its package that
it imports from; arrows that follow from others are left out, as they would hide the rest. Dots in a room's corner are
the other packages that it imports from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise

from tests.arch.graph import Graph, modules, package_of, rooms
from tests.arch.layout import (
    GAP,
    LINE,
    MARGIN,
    NAME_SIZE,
    PADDING,
    TEXT_SIZE,
    WIDTH,
    Box,
    Panel,
    place,
    reduced,
    sentence,
)

COLOURS = {  # by light, by dark
    "pyswarmd": ("#7c3aed", "#b794f6"),
    "stacks": ("#57606a", "#9da7b3"),
    "manager": ("#1d5fd1", "#6cb0ff"),
    "worker": ("#0a7d4f", "#4cc38a"),
    "netoverlay": ("#b45309", "#e8a54b"),
    "pki": ("#be185d", "#f286b5"),
    "swarmcore": ("#0e7490", "#4fc3d9"),
}


def draw() -> str:
    """The whole picture."""
    placed = list(place())
    panels = {panel.package: panel for row in placed for panel in row}
    height = max(panel.bottom for panel in panels.values()) + MARGIN
    body = [*_heading(), *_between(panels)]
    for panel in panels.values():
        body += _panel(panel)
    size = f'viewBox="0 0 {_n(WIDTH)} {_n(height)}" width="{_n(WIDTH)}" height="{_n(height)}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
            '<title id="title">The packages and rooms of pyswarm, and what imports what</title>',
            f"<style>{_style()}</style>",
            _markers(),
            f'<rect class="ground" width="{_n(WIDTH)}" height="{_n(height)}" rx="14"/>',
            *body,
            "</svg>\n",
        ]
    )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, kind: str, text: str, more: str = "") -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" class="{kind}"{more}>{escape(text)}</text>'


def _heading() -> Iterator[str]:
    yield _text(MARGIN + 4, 34, "head", "pyswarm: packages, rooms, and what imports what")
    yield _text(
        MARGIN + 4,
        54,
        "text",
        "An arrow leads from a room to one that it imports from; arrows that follow from others are left out."
        " Dots: the other packages that a room imports from. Drawn from the code by “make map”.",
    )


def _between(panels: Mapping[str, Panel]) -> Iterator[str]:
    """Arrows between packages, wide and behind everything."""
    graph: dict[str, set[str]] = {package: set() for package in panels}
    for room, targets in rooms().items():
        graph[package_of(room)] |= {package_of(target) for target in targets} - {package_of(room)}
    arrows = reduced({package: frozenset(targets) for package, targets in graph.items()})
    ends = [(panels[a], panels[b]) for a in panels for b in panels if b in arrows[a]]
    below = {
        panel.package: max(other.bottom for other in panels.values() if _is_below(other, panel))
        for panel in panels.values()
    }
    for source, target in ends:
        outs = [b.middle for a, b in ends if a is source]
        ins = [a.middle for a, b in ends if b is target]
        x1 = _spread((source.x, source.ways or source.width), outs, target)
        x2 = _spread((target.x, target.width), ins, source)
        y1, y2 = source.bottom + 3, target.y - 9
        down = max(below[source.package], y1)
        path = (
            f"M{_n(x1)} {_n(y1)}V{_n(down)}C{_n(x1)} {_n(down + 26)} {_n(x2)} {_n(y2 - 26)} {_n(x2)} {_n(y2)}"
        )
        yield f'<path class="road {source.package}" d="{path}" marker-end="url(#wide-{source.package})"/>'


def _is_below(panel: Panel, other: Panel) -> bool:
    """In one column of a row, where each is as far below the last as columns lie apart; or the same one."""
    return panel is other or (
        other.x < panel.x < other.x + other.width and 0 < panel.y - other.bottom <= MARGIN
    )


def _spread(where: tuple[float, float], others: list[float], other: Panel) -> float:
    """Where an arrow leaves or meets a panel: opposite to its other end, as far as the panel reaches there."""
    x, width = where
    left, right = max(x, other.x), min(x + width, other.x + other.width)
    middle = (left + right) / 2 if right - left > 40 else min(max(other.middle, x + 40), x + width - 40)
    return middle + 14 * (sorted(others).index(other.middle) - (len(others) - 1) / 2)


def _panel(panel: Panel) -> Iterator[str]:
    yield f'<g class="{panel.package}">'
    yield (
        f'<rect class="panel" x="{_n(panel.x)}" y="{_n(panel.y)}" width="{_n(panel.width)}"'
        f' height="{_n(panel.height)}" rx="12"/>'
    )
    x, y = panel.x + PADDING, panel.y + 24
    yield f'<circle class="dot {panel.package}" cx="{_n(x + 5)}" cy="{_n(y - 4.5)}" r="5"/>'
    yield _text(x + 17, y, "package", panel.package)
    for number, line in enumerate(panel.lines):
        yield _text(x + 17, y + 16 + number * LINE, "text", line)
    yield from _arrows(panel)
    for row in panel.rows:
        for box in row:
            yield from _box(box)
    yield "</g>"


def _box(box: Box) -> Iterator[str]:
    folder = modules()[box.room].is_folder
    name = box.room.partition(".")[2] + ("" if folder else ".py")
    targets = sorted(rooms()[box.room])
    yield f"<g><title>{escape(_hint(box.room, targets))}</title>"
    yield (
        f'<rect class="{"room" if folder else "room file"}" x="{_n(box.x)}" y="{_n(box.y)}"'
        f' width="{_n(box.width)}" height="{_n(box.height)}" rx="7"/>'
    )
    yield _text(box.x + 10, box.y + 18, "name" if folder else "name file", name)
    for number, line in enumerate(box.lines):
        yield _text(box.x + 10, box.y + 34 + number * LINE, "text", line)
    others = {package_of(target) for target in targets} - {package_of(box.room)}
    for number, package in enumerate(package for package in reversed(COLOURS) if package in others):
        x = box.x + box.width - 11 - 9 * number
        yield f'<circle class="dot {package}" cx="{_n(x)}" cy="{_n(box.y + 13.5)}" r="3.2"/>'
    yield "</g>"


def _hint(room: str, targets: list[str]) -> str:
    return f"{room}: {sentence(room)}" + (f"\nimports from {', '.join(targets)}" if targets else "")


# Arrows in a panel


def _arrows(panel: Panel) -> Iterator[str]:
    boxes = {box.room: box for row in panel.rows for box in row}
    level = {box.room: number for number, row in enumerate(panel.rows) for box in row}
    lanes: dict[tuple[int, float], int] = {}
    for room in boxes:
        for target in sorted(panel.arrows[room], key=lambda name: (boxes[name].middle, name)):
            start = (_port(boxes, room, panel.arrows, out=True, other=target), boxes[room].bottom)
            end = (_port(boxes, target, panel.arrows, out=False, other=room), boxes[target].y - 4)
            passed = panel.rows[level[room] + 1 : level[target]]
            points = [start, *_lane(panel, passed, start, end, lanes), end]
            yield f'<path class="arrow" d="{_curve(points)}" marker-end="url(#tip-{panel.package})"/>'


def _port(boxes: Mapping[str, Box], room: str, arrows: Graph, out: bool, other: str) -> float:
    """Arrows leave and meet a box side by side, in the order in which their other ends stand."""
    ends = arrows[room] if out else {name for name, targets in arrows.items() if room in targets}
    order = sorted(ends, key=lambda name: (boxes[name].middle, name))
    box = boxes[room]
    step = min(16.0, (box.width - 24) / max(len(order), 1))
    return box.middle + (order.index(other) - (len(order) - 1) / 2) * step


Point = tuple[float, float]


def _lane(
    panel: Panel, passed: Iterable[list[Box]], start: Point, end: Point, lanes: dict[tuple[int, float], int]
) -> Iterator[Point]:
    """The ways between the boxes of the rows that an arrow passes: straight on where it can, else the nearest gap."""
    before = start[0]
    for row in passed:
        edges = [box.x - GAP / 2 for box in row] + [row[-1].x + row[-1].width + GAP / 2]
        y, below = row[0].y, row[0].bottom
        straight = (before + end[0]) / 2
        free = not any(box.x - 6 < before < box.x + box.width + 6 for box in row)
        x = before if free else min(edges, key=lambda edge: (abs(edge - straight), edge))
        x = min(max(x, panel.x + 8), panel.x + panel.width - 8)
        taken = lanes.setdefault((int(y), round(x, 1)), 0)
        lanes[(int(y), round(x, 1))] += 1
        x += (0, -4, 4, -7, 7)[taken % 5]
        yield x, y - 6
        yield x, below + 6
        before = x


def _curve(points: Sequence[Point]) -> str:
    parts = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for (x1, y1), (x2, y2) in pairwise(points):
        if x1 == x2:
            parts.append(f"V{_n(y2)}")
        else:
            middle = (y1 + y2) / 2
            parts.append(f"C{_n(x1)} {_n(middle)} {_n(x2)} {_n(middle)} {_n(x2)} {_n(y2)}")
    return "".join(parts)


def _markers() -> str:
    tips = []
    for package in COLOURS:
        tips.append(_marker(f"tip-{package}", package, 7))
        tips.append(_marker(f"wide-{package}", f"{package} end", 16))
    return f"<defs>{''.join(tips)}</defs>"


def _marker(name: str, kind: str, size: int) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="6" refY="5" markerWidth="{size}" markerHeight="{size}"'
        f' markerUnits="userSpaceOnUse" orient="auto"><path class="tip {kind}" d="M0 0L10 5L0 10z"/></marker>'
    )


def _style() -> str:
    light = _colours(0, "#ffffff", "#d0d7de", "#ffffff", "#1f2328", "#57606a", 0.07)
    dark = _colours(1, "#0d1117", "#30363d", "#161b22", "#e6edf3", "#a5afba", 0.1)
    return (
        "text{font-family:Inter,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans Condensed',sans-serif}"
        ".head{font-size:19px;font-weight:600}.package{font-size:16px;font-weight:700}"
        f".name{{font-size:{NAME_SIZE}px;font-weight:600}}.text{{font-size:{TEXT_SIZE}px}}"
        ".panel{stroke-width:1.2;stroke-opacity:.45}.room{stroke-width:1.2;stroke-opacity:.6}"
        ".room.file{stroke-dasharray:3 3}.name.file{font-weight:500}"
        ".arrow{fill:none;stroke-width:1.3;stroke-opacity:.7}.road{fill:none;stroke-width:5;stroke-opacity:.4}"
        f".tip.end{{fill-opacity:.6}}{light}@media (prefers-color-scheme:dark){{{dark}}}"
    )


def _colours(which: int, ground: str, line: str, room: str, ink: str, soft: str, tint: float) -> str:
    rules = [
        f".ground{{fill:{ground};stroke:{line}}}.room{{fill:{room}}}",
        f".head,.name{{fill:{ink}}}.text{{fill:{soft}}}",
    ]
    for package, colours in COLOURS.items():
        colour = colours[which]
        rules.append(
            f".{package} .panel{{fill:{colour};fill-opacity:{tint};stroke:{colour}}}"
            f".{package} .room,.{package} .arrow,.road.{package}{{stroke:{colour}}}"
            f".{package} .package,.dot.{package},.tip.{package}{{fill:{colour}}}"
        )
    return "".join(rules)
