"""Lines of the documents: at most 120 characters, and the command that breaks longer ones.

    python -m tests.arch.prose           which lines are too long
    python -m tests.arch.prose --wrap    break them: every paragraph with such a line is filled anew

Not counted, as it cannot be broken: a row of a table, and a line with a single word, such as an address.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from tests.arch.graph import ROOT

WIDTH = 120
_ITEM = re.compile(r"(\s*(?:[-*+]|\d+\.)\s+|\s*)")
_BEGINS = re.compile(r"\s*([-*+]|\d+\.)\s")
_FIXED = re.compile(r"\s*(#|\||>|<|!\[|$)")


def pages() -> list[Path]:
    """Every page of the project, those that are not committed yet too; none of what lies beside it ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [path for name in sorted(set(filter(None, names))) if (path := ROOT / name).exists()]


def is_too_long(line: str) -> bool:
    bare = line.strip()
    return len(line) > WIDTH and not bare.startswith("|") and " " in _ITEM.sub("", bare, count=1)


def too_long(page: Path) -> list[str]:
    where = page.relative_to(ROOT)
    lines = page.read_text().splitlines()
    return [f"{where}:{number}" for number, line in enumerate(lines, 1) if is_too_long(line)]


def wrapped(text: str) -> str:
    """The same page, with each paragraph or item of a list that has a line too long filled anew."""
    parts = _parts(text.splitlines())
    return "".join(f"{line}\n" for part, fixed in parts for line in (part if fixed else _filled(part)))


def _parts(lines: list[str]) -> Iterator[tuple[list[str], bool]]:
    """Paragraphs and items; what must stay as it is (code, tables, headings) comes line by line, with True."""
    part: list[str] = []
    fenced = False
    for line in lines:
        fence = line.lstrip().startswith("```")
        fixed = fenced or fence or bool(_FIXED.match(line)) or (line.startswith("    ") and not part)
        fenced = fenced != fence
        if part and (fixed or _BEGINS.match(line)):
            yield part, False
            part = []
        if fixed:
            yield [line], True
        else:
            part.append(line)
    if part:
        yield part, False


def _filled(part: list[str]) -> list[str]:
    if not any(is_too_long(line) for line in part):
        return part
    match = _ITEM.match(part[0])
    head = match[0] if match else ""
    text = " ".join(line.strip() for line in [part[0][len(head) :], *part[1:]])
    # A line must not begin with what Markdown takes for an item or a heading: such a word stays with the last one.
    text = re.sub(r" (?=([-*+#]+|\d+\.)( |$))", "\N{NO-BREAK SPACE}", text)
    filled = textwrap.wrap(text, WIDTH - len(head), break_long_words=False, break_on_hyphens=False)
    lines = [line.replace("\N{NO-BREAK SPACE}", " ") for line in filled]
    return [head + lines[0], *(" " * len(head) + line for line in lines[1:])]


def main() -> int:
    if sys.argv[1:2] == ["--wrap"]:
        for page in [ROOT / name for name in sys.argv[2:]] or pages():
            before = page.read_text()
            if before != (after := wrapped(before)):
                page.write_text(after)
    left = [place for page in pages() for place in too_long(page)]
    print("\n".join(left))
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
