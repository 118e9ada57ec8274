"""Where the rooms of the map stand: panels in rows, rooms above those that they import from, text in its boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.arch.graph import Graph, circles, first_sentence, inside, modules, rooms

# From the top: a row holds columns side by side, a column panels one below the other, a panel so many rooms in a row.
ROWS = (
    ((("pyswarmd", 4),),),
    ((("manager", 4),), (("worker", 3), ("stacks", 1))),
    ((("netoverlay", 3),), (("pki", 3),)),
    ((("swarmcore", 6),),),
)
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


def place() -> Iterator[list[Panel]]:
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
    panel.lines = wrap(sentence(panel.package), panel.width - 2 * PADDING - 20, TEXT_SIZE)
    width = (panel.width - 2 * PADDING - (panel.columns - 1) * GAP) / panel.columns
    panel.rows = [
        [Box(room, width=width, lines=wrap(sentence(room), width - 20, TEXT_SIZE)) for room in row]
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


def sentence(room: str) -> str:
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
