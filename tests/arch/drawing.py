"""The map as a picture: an SVG from the import graph, the same bytes for the same code.

Packages are panels, one below those that import from it. In a panel a room stands above the rooms of its package that
it imports from; arrows that follow from others are left out, as they would hide the rest. Dots in a room's corner are
the other packages that it imports from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from tests.arch.graph import Graph, circles, first_sentence, inside, modules, package_of, rooms

# From the top: a row holds columns side by side, a column panels one below the other, a panel so many rooms in a row.
ROWS = (
    ((("pyswarmd", 4),),),
    ((("manager", 4),), (("worker", 3), ("stacks", 1))),
    ((("netoverlay", 3),), (("pki", 3),)),
    ((("swarmcore", 6),),),
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
WIDTH, MARGIN, GUTTER = 1240.0, 20.0, 44.0
PADDING, TITLE, GAP, RISE = 18.0, 40.0, 16.0, 28.0
NAME_SIZE, TEXT_SIZE, LINE = 13.0, 10.5, 13.5
ASIDE = 0.45  # of a column, beside its lower panels
HEAD = 74.0  # above the first panel: what the picture is


@dataclass
class Box:
    """One room, where it stands. Its text is wrapped to its width."""

    room: str
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    lines: Sequence[str] = ()

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height


@dataclass
class Panel:
    """One package: its rooms in rows, and the arrows between them."""

    package: str
    columns: int
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    ways: float = 0.0  # the width, from the left, where the ways to other packages leave below
    lines: Sequence[str] = ()
    rows: list[list[Box]] = field(default_factory=list)
    arrows: Graph = field(default_factory=dict)

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height


def draw() -> str:
    """The whole picture."""
    placed = list(_place())
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


# Where things stand


def _place() -> Iterator[list[Panel]]:
    top = HEAD
    for row in ROWS:
        columns = [max(count for _, count in column) for column in row]
        free = WIDTH - 2 * MARGIN - (len(row) - 1) * MARGIN
        left, placed = MARGIN, []
        for column, count in zip(row, columns, strict=True):
            width = free * count / sum(columns)
            placed.append(_column(column, left, top, width))
            left += width + MARGIN
        lowest = max(column[-1].bottom for column in placed)
        for panels in placed:
            _stretch(panels, lowest - panels[-1].bottom)
        yield [panel for panels in placed for panel in panels]
        top = lowest + GUTTER


def _column(column: Sequence[tuple[str, int]], left: float, top: float, width: float) -> list[Panel]:
    """Panels one below the other; the lower ones leave the left free for the ways out of the first one."""
    panels: list[Panel] = []
    for package, per_row in column:
        aside = width * ASIDE if panels else 0.0
        panels.append(_fill(Panel(package, per_row, left + aside, top, width - aside)))
        top = panels[-1].bottom + MARGIN
    panels[0].ways = width * ASIDE if len(panels) > 1 else width
    return panels


def _stretch(panels: Sequence[Panel], by: float) -> None:
    """Columns of one row end at one line: the first panel grows."""
    panels[0].height += by
    for panel in panels[1:]:
        panel.y += by
        for box in (box for row in panel.rows for box in row):
            box.y += by


def _fill(panel: Panel) -> Panel:
    within = inside(panel.package, rooms())
    panel.arrows = reduced(without_circles(within))
    panel.lines = wrap(_sentence(panel.package), panel.width - 2 * PADDING - 20, TEXT_SIZE)
    width = (panel.width - 2 * PADDING - (panel.columns - 1) * GAP) / panel.columns
    panel.rows = [
        [Box(room, width=width, lines=wrap(_sentence(room), width - 20, TEXT_SIZE)) for room in row]
        for row in in_rows(panel.arrows, panel.columns)
    ]
    y = panel.y + TITLE + LINE * len(panel.lines)
    for row in panel.rows:
        height = 27 + LINE * max(len(box.lines) for box in row)
        used = len(row) * width + (len(row) - 1) * GAP
        for number, box in enumerate(row):
            box.x = panel.x + (panel.width - used) / 2 + number * (width + GAP)
            box.y, box.height = y, height
        y += height + RISE
    panel.height = (y - RISE + PADDING if panel.rows else y - 4) - panel.y
    return panel


def _sentence(room: str) -> str:
    return first_sentence(modules()[room].doc)


def without_circles(graph: Graph) -> Graph:
    """What goes round in a circle has no place above or below: those arrows are left out (and fail a test)."""
    group = {name: number for number, circle in enumerate(circles(graph)) for name in circle}
    return {
        name: frozenset(t for t in targets if name not in group or group[name] != group.get(t))
        for name, targets in graph.items()
    }


def reduced(graph: Graph) -> Graph:
    """Without the arrows that follow from others: where a → b → c, the arrow a → c says nothing new of the order."""
    below: dict[str, frozenset[str]] = {}

    def reach(name: str) -> frozenset[str]:
        if name not in below:
            below[name] = frozenset().union(*(reach(target) | {target} for target in graph[name]))
        return below[name]

    return {
        name: frozenset(t for t in targets if not any(t in reach(other) for other in targets if other != t))
        for name, targets in graph.items()
    }


def in_rows(graph: Graph, columns: int) -> list[list[str]]:
    """Rooms by the longest way down from each; rows that are too long are broken; neighbours stand near each other."""
    depth: dict[str, int] = {}

    def measure(name: str) -> int:
        if name not in depth:
            depth[name] = max((measure(target) + 1 for target in graph[name]), default=0)
        return depth[name]

    levels: dict[int, list[str]] = {}
    for name in sorted(graph):
        levels.setdefault(measure(name), []).append(name)
    rows = [part for level in sorted(levels, reverse=True) for part in _broken(levels[level], columns, graph)]
    for _ in range(8):
        for number in (*range(len(rows)), *reversed(range(len(rows)))):
            rows[number] = _sorted_by_neighbours(rows, number, graph)
    return rows


def _broken(names: list[str], columns: int, graph: Graph) -> Iterator[list[str]]:
    """In as few rows as can be, of equal length; what most import from stands highest."""
    used = {name: sum(name in targets for targets in graph.values()) for name in names}
    names = sorted(names, key=lambda name: (-used[name], name))
    rows = -(-len(names) // columns)
    size = -(-len(names) // rows)
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _sorted_by_neighbours(rows: list[list[str]], number: int, graph: Graph) -> list[str]:
    place = {
        name: (index + 0.5) / len(row) if len(row) > 1 else 0.5
        for row in rows
        for index, name in enumerate(row)
    }
    near = {
        name: [place[t] for t in graph[name]] + [place[o] for o, targets in graph.items() if name in targets]
        for name in rows[number]
    }
    centre = {name: sum(near[name]) / len(near[name]) if near[name] else place[name] for name in rows[number]}
    return sorted(rows[number], key=lambda name: (round(centre[name], 6), name))


# Text, measured without a font: widths of a common sans serif, rather too wide than too narrow

_NARROW, _WIDE = "iljtfr.,:;'|!()[]` I", "mwMW@%→"


def text_width(text: str, size: float) -> float:
    per = (0.32 if c in _NARROW else 0.86 if c in _WIDE else 0.68 if c.isupper() else 0.54 for c in text)
    return size * sum(per)


def wrap(text: str, width: float, size: float) -> list[str]:
    lines = [""]
    for word in text.replace("`", "").replace("/", "/ ").split(" "):
        glue = "" if lines[-1].endswith("/") else " "
        longer = f"{lines[-1]}{glue}{word}".strip()
        if lines[-1] and text_width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


# What is drawn


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
    return f"{room}: {_sentence(room)}" + (f"\nimports from {', '.join(targets)}" if targets else "")


# Arrows in a panel


def _arrows(panel: Panel) -> Iterator[str]:
    boxes = {box.room: box for row in panel.rows for box in row}
    level = {box.room: number for number, row in enumerate(panel.rows) for box in row}
    lanes: dict[tuple[int, float], int] = {}
    for room in boxes:
        for target in sorted(panel.arrows[room], key=lambda name: boxes[name].middle):
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
