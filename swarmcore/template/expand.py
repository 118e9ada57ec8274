"""Text with placeholders to text, without evaluating anything.

The subset of Go's template language that stack files use: `{{.Service.Name}}`, `{{index .Service.Labels
"key"}}`, and in payloads also `{{env "NAME"}}`, `{{secret "target"}}`, `{{config "target"}}`; `{{-` and
`-}}` trim white space. An action is one path or one call of a listed function, and whatever else stands between
braces is refused with its text. One pass over the text, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from swarmcore.errors import Invalid, clipped
from swarmcore.text.patterns import Pattern

Scope = Mapping[str, "str | Scope"]
Function = Callable[[str], str]

LONGEST = 1 << 20  # characters: what a spec or a payload may have at most
_TOKEN = Pattern(r'(\.[A-Za-z_][\w.]*)|"((?:[^"\\\n]|\\.)*)"|`([^`]*)`|([A-Za-z_]\w*)', LONGEST)
_ESCAPE = Pattern(r"\\(.)", LONGEST)
_SPACE = Pattern(r"\s*", LONGEST)
_SHOWN = 60


class _Action(Struct, frozen=True):
    """What stands between braces, and where it ends."""

    tokens: tuple[tuple[str, str], ...]
    text: str
    end: int
    trims_next: bool


def expand(text: str, scope: Scope, functions: Mapping[str, Function] | None = None) -> str:
    """`text` with every action replaced; raises Invalid with the action that cannot be."""
    if "{{" not in text:
        return text
    if len(text) > LONGEST:
        raise Invalid(f"template {clipped(text)} is longer than {LONGEST} characters")
    parts: list[str] = []
    position, trim_next = 0, False
    while (start := text.find("{{", position)) >= 0:
        literal = text[position:start]
        literal = literal.lstrip() if trim_next else literal
        trims_before = text.startswith("- ", start + 2)
        parts.append(literal.rstrip() if trims_before else literal)
        action = _action(text, start, start + (4 if trims_before else 2))
        parts.append(_value(action, scope, functions or {}))
        position, trim_next = action.end, action.trims_next
    rest = text[position:]
    parts.append(rest.lstrip() if trim_next else rest)
    return "".join(parts)


def _action(text: str, start: int, position: int) -> _Action:
    """The action at `start`, whose words begin at `position`. Closing braces in quotes belong to the quotes."""
    tokens: list[tuple[str, str]] = []
    while True:
        after = _SPACE.match(text, position)
        assert after is not None
        spaced, position = after.end() > position, after.end()
        if text.startswith("}}", position):
            return _Action(tuple(tokens), _shown(text, start, position), position + 2, False)
        if spaced and text.startswith("-}}", position):
            return _Action(tuple(tokens), _shown(text, start, position), position + 3, True)
        token = _TOKEN.match(text, position)
        if token is None:
            if "}}" in text[position:]:
                raise _unsupported(_shown(text, start, text.index("}}", position)))
            raise Invalid(f"template {clipped(text[start:])}: a placeholder is not closed")
        path, quoted, raw, word = token.groups()
        if path is not None:
            tokens.append(("path", path))
        elif word is not None:
            tokens.append(("word", word))
        else:
            tokens.append(("string", raw if raw is not None else _ESCAPE.sub(r"\1", quoted)))
        position = token.end()


def _shown(text: str, start: int, end: int) -> str:
    """An action's own words, for messages."""
    words = text[start + 2 : end].strip()
    return "{{" + (words if len(words) <= _SHOWN else words[: _SHOWN - 1] + "…") + "}}"


def _unsupported(action: str) -> Invalid:
    return Invalid(f"template {action} is not supported")


def _value(action: _Action, scope: Scope, functions: Mapping[str, Function]) -> str:
    match action.tokens:
        case (("string", text),):
            return text
        case (("path", path),):
            return _leaf(_walk(path, scope, action.text), action.text)
        case (("word", "index"), ("path", path), ("string", key)):
            found = _walk(path, scope, action.text)
            if isinstance(found, str):
                raise Invalid(f"template {action.text}: {clipped(path)} has no keys")
            return _leaf(found.get(key, ""), action.text)
        case (("word", name), ("string", argument)) if name in functions:
            return functions[name](argument)
    raise _unsupported(action.text)


def _walk(path: str, scope: Scope, action: str) -> str | Scope:
    current: str | Scope = scope
    parts = path[1:].split(".")
    for depth, name in enumerate(parts):
        if isinstance(current, str):
            raise Invalid(f"template {action}: no such placeholder")
        if name not in current:
            if depth == 2 and parts[1] == "Labels":
                return ""  # a missing label is empty, a misspelt placeholder is an error
            raise Invalid(f"template {action}: no such placeholder")
        current = current[name]
    return current


def _leaf(found: str | Scope, action: str) -> str:
    if not isinstance(found, str):
        raise Invalid(f"template {action} names a group, not a value")
    return found
