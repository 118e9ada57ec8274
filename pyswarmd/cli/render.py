"""What the CLI prints: tables with Docker's columns, `--format` templates, JSON, ages."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from swarmcore.clock import utc_now
from swarmcore.errors import Invalid
from swarmcore.text.patterns import Match, Pattern

_FIELD = Pattern(r"\{\{\s*(?:(json)\s+)?\.([A-Za-z0-9.]*)\s*\}\}", 1 << 16)
_NANOSECONDS = Pattern(r"(\.\d{6})\d+", 64)


def out(text: str = "") -> None:
    print(text, flush=True)


def note(text: str) -> None:
    """Something beside the result: to stderr."""
    print(text, file=sys.stderr, flush=True)


def confirmed(question: str) -> bool:
    """Whether whoever types says y; the end of the input is a no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def table(rows: Sequence[Mapping[str, str]], columns: Sequence[str], template: str | None = None) -> None:
    """Print rows under the given headings, or through a `{{.Column}}` template."""
    if template and template != "table":
        if template == "json":
            for row in rows:
                out(json.dumps({_key(c): row.get(c, "") for c in columns}))
            return
        for row in rows:
            named = {_key(column): row.get(column, "") for column in row}
            out(fill(template.removeprefix("table "), named))
        return
    widths = [max([len(c), *(len(row.get(c, "")) for row in rows)]) for c in columns]
    for line in [{c: c for c in columns}, *rows]:
        out("   ".join(line.get(c, "").ljust(w) for c, w in zip(columns, widths, strict=True)).rstrip())


def _key(column: str) -> str:
    """Docker's name of a column in templates."""
    if column.split()[-1] == "ID":
        return "ID"
    return "".join(word.capitalize() if word.isupper() else word for word in column.split())


def fill(template: str, values: Any) -> str:
    """`{{.A.B}}` and `{{json .A}}` from nested maps, with the usual \\t and \\n."""

    def field(match: Match[str]) -> str:
        value = values
        for name in filter(None, match[2].split(".")):
            if not isinstance(value, Mapping) or name not in value:
                raise Invalid(f"no field .{match[2]} for --format {template!r}")
            value = value[name]
        return str(value) if isinstance(value, str) and not match[1] else json.dumps(value)

    # Looked for in what the template leaves, not in the result: a value may hold placeholders of its own.
    if "{{" in _FIELD.sub("", template):
        raise Invalid(f"cannot use the template {template!r}", "use fields like {{.Name}} or {{json .}}")
    return _FIELD.sub(field, template.replace("\\t", "\t").replace("\\n", "\n"))


def inspect(objects: Sequence[Any], template: str | None) -> None:
    if template:
        for item in objects:
            out(fill(template, item))
    else:
        out(json.dumps(list(objects), indent=4))


def parse_time(text: str) -> datetime:
    """An RFC 3339 time of the API; nanoseconds are cut to microseconds."""
    text = _NANOSECONDS.sub(r"\1", text.replace("Z", "+00:00"))
    return datetime.fromisoformat(text)


def age(text: str, now: Callable[[], datetime] = utc_now) -> str:
    """`5 seconds ago` of an API time."""
    seconds = max(0, int((now() - parse_time(text)).total_seconds()))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a second ago"


def short(text: str, *, whole: bool) -> str:
    return text if whole else text[:12]
