"""The import graph of the seven packages as the code has it: files, the rooms they lie in, and circles of either.

A room is a folder with files. A file in the root of a package is a room of its own, named like the file. Imports for
types alone count like any other: who reads a file has to know what it names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pyswarmd", "stacks", "manager", "worker", "netoverlay", "pki", "swarmcore")

Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Module:
    """One file, and the files of the seven packages that it imports."""

    name: str  # dotted; a folder's __init__.py has the folder's name
    path: Path
    doc: str
    imports: frozenset[str]

    @property
    def is_folder(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def room(self) -> str:
        package, _, inside = self.name.partition(".")
        if self.is_folder or "." not in inside:
            return self.name
        return f"{package}.{inside.rpartition('.')[0]}"


def module_name(path: Path) -> str:
    """The dotted name under which a file of the tree is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources() -> Mapping[str, Path]:
    """Every file of the seven packages under its dotted name, in order."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return {module_name(path): path for path in paths}


@cache
def modules() -> Mapping[str, Module]:
    """Every file of the seven packages, read."""
    return {name: _read(name, path) for name, path in sources().items()}


def _read(name: str, path: Path) -> Module:
    tree = ast.parse(path.read_text())
    base = name if path.name == "__init__.py" else name.rpartition(".")[0]
    named = {target for node in ast.walk(tree) for target in _targets(node, base)}
    known = frozenset(target for target in named if target in sources() and target != name)
    return Module(name, path, ast.get_docstring(tree) or "", known)


def _targets(node: ast.AST, base: str) -> Iterator[str]:
    """The modules that one statement imports; `from room import file` is an import of the file."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = base.split(".")[: len(base.split(".")) - node.level + 1] if node.level else []
        origin = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            whole = f"{origin}.{alias.name}"
            yield whole if whole in sources() else origin


def files() -> Graph:
    """Which file imports which."""
    return {name: module.imports for name, module in modules().items()}


@cache
def rooms() -> Graph:
    """Which room imports from which. The root of a package, and a folder of folders only, are no rooms."""
    inside = {module.room for module in modules().values() if not module.is_folder}
    arrows: dict[str, set[str]] = {room: set() for room in _in_order(inside)}
    for module in modules().values():
        for target in module.imports:
            there = modules()[target].room
            if module.room != there and module.room in arrows and there in arrows:
                arrows[module.room].add(there)
    return {room: frozenset(targets) for room, targets in arrows.items()}


def _in_order(names: set[str]) -> list[str]:
    return sorted(names, key=lambda name: (PACKAGES.index(package_of(name)), name))


def package_of(name: str) -> str:
    return name.partition(".")[0]


def inside(package: str, graph: Graph) -> Graph:
    """The part of a graph that lies in one package."""
    return {
        name: frozenset(target for target in targets if package_of(target) == package)
        for name, targets in graph.items()
        if package_of(name) == package
    }


def circles(graph: Graph) -> list[tuple[str, ...]]:
    """Names that reach each other: the strongly connected parts of more than one, by Tarjan's algorithm."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []
    following = count()

    def visit(name: str) -> None:
        numbers[name] = lowest[name] = next(following)
        stack.append(name)
        for target in sorted(graph.get(name, ())):
            if target not in numbers:
                visit(target)
            if target in stack:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == numbers[name]:
            part = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(part) > 1:
                found.append(tuple(sorted(part)))

    for name in sorted(graph):
        if name not in numbers:
            visit(name)
    return sorted(found)


def first_sentence(doc: str) -> str:
    """What a docstring says first, in one line."""
    text = " ".join(doc.split())
    for end, letter in enumerate(text):
        ends = letter == "." and text[end + 1 : end + 2] in ("", " ")
        if ends and not text[: end + 1].endswith(("e.g.", "i.e.")):
            return text[: end + 1]
    return text
