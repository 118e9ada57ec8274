"""Every command and flag that a text of the program names, read from the source: what tests of hints start from."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("swarmcore", "pki", "netoverlay", "manager", "worker", "stacks", "pyswarmd")
# A command is written in double quotes, or alone in an indented line of output.
_QUOTED = re.compile(r'"(pyswarm [a-z][^"]*)"')
_LINE = re.compile(r"^\s+(pyswarm [a-z][^\n#\"]*)", re.MULTILINE)
_ANY = re.compile(r"(?<![\w./-])pyswarm ([a-z-]+)")
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
VALUE = "X"  # stands where the text has a value of the moment


class Text(Struct, frozen=True):
    """One string of the source, docstrings left out."""

    where: str
    text: str

    def commands(self) -> list[str]:
        found = [*_QUOTED.findall(self.text), *_LINE.findall(self.text)]
        return [" ".join(command.split()) for command in found]

    def flags(self) -> list[str]:
        """Of sentences; a lone flag is an argument of something."""
        return _FLAG.findall(self.text) if " " in self.text.strip() else []

    def unquoted(self, names: set[str]) -> list[str]:
        """Commands that are named otherwise: nobody would find them."""
        rest = _LINE.sub("", _QUOTED.sub("", self.text))
        return [name for name in _ANY.findall(rest) if name in names]


def texts() -> Iterator[Text]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield from _texts_of(path)


def _texts_of(path: Path) -> Iterator[Text]:
    tree = ast.parse(path.read_text())
    skip: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                skip.update(id(value) for value in values)
            case ast.Expr(value=ast.Constant() as said):  # a docstring
                skip.add(id(said))
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                text = "".join(str(v.value) if isinstance(v, ast.Constant) else VALUE for v in values)
            case ast.Constant(value=str(text)) if id(node) not in skip:
                pass
            case _:
                continue
        yield Text(f"{path.relative_to(ROOT)}:{node.lineno}", text)


def hinted() -> set[str]:
    """Every command line that some text names."""
    return {command for text in texts() for command in text.commands()}


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """This parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)
