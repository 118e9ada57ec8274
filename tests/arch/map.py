"""The map of the code, from the code: packages, rooms, what each is for, and the arrows between them.

make map                            prints it, and draws docs/map.svg
python -m tests.arch.map --print    prints it only
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from tests.arch.drawing import draw
from tests.arch.graph import PACKAGES, ROOT, first_sentence, inside, modules, package_of, rooms

PICTURE = ROOT / "docs" / "map.svg"


def text() -> str:
    return "\n".join(line for package in PACKAGES for line in _package(package))


def _package(package: str) -> Iterator[str]:
    within = inside(package, rooms())
    arrows = sum(len(targets) for targets in within.values())
    outside = {package_of(target) for room in within for target in rooms()[room]} - {package}
    yield f"{package}  {first_sentence(modules()[package].doc)}"
    yield _indent(4, f"{len(within)} rooms, {arrows} arrows inside{_to(sorted(outside, key=PACKAGES.index))}")
    for room in within:
        members = [module for module in modules().values() if module.room == room and not module.is_folder]
        size = sum(len(module.path.read_text().splitlines()) for module in members)
        name = room.partition(".")[2] + ("" if modules()[room].is_folder else ".py")
        yield (
            f"  {name}  ({len(members)} files, {size} lines)"
            if modules()[room].is_folder
            else f"  {name}  ({size} lines)"
        )
        yield _indent(6, first_sentence(modules()[room].doc))
        if within[room]:
            yield _indent(6, "→ " + ", ".join(sorted(target.partition(".")[2] for target in within[room])))
        if others := rooms()[room] - within[room]:
            yield _indent(6, "⇒ " + ", ".join(sorted(others)))
    yield ""


def _to(packages: list[str]) -> str:
    return f"; ⇒ {', '.join(packages)}" if packages else ""


def _indent(width: int, line: str) -> str:
    return textwrap.fill(line, 110, initial_indent=" " * width, subsequent_indent=" " * (width + 2))


def main() -> None:
    print(text())
    if "--print" not in sys.argv[1:]:
        PICTURE.write_text(draw())
        print(f"drawn: {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
