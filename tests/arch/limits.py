"""What goes beyond the rules of the tree's shape, and the list of what may: `exceptions.toml`, which only shrinks.

    python -m tests.arch.limits             what is beyond a rule and not listed, what is listed and need not be
    python -m tests.arch.limits --shrink    write the list anew: nothing is added, nothing grows

A rule is a function that returns what is beyond it now, by how much. What moves to another name is a new name: move its
line of the list by hand, or better, mend it on the way.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.arch.contracts import unnamed
from tests.arch.graph import PACKAGES, ROOT, circles, files, inside, module_name, modules, rooms

LIST = Path(__file__).with_name("exceptions.toml")
LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40

Sizes = Mapping[str, int]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _code() -> Iterator[Path]:
    for folder in (*PACKAGES, "bench"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def long_files() -> Sizes:
    """Files of more than 400 lines, all of them counted; tests too."""
    paths = [*_code(), *sorted((ROOT / "tests").rglob("*.py"))]
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    return {name: size for name, size in sizes.items() if size > LINES_OF_A_FILE}


def long_functions() -> Sizes:
    """Functions of more than 40 lines, from `def` to the last one; decorators and the docstring do not count."""
    return {
        f"{module_name(path)}:{name}": size
        for path in _code()
        for name, node in functions(ast.parse(path.read_text()))
        if (size := function_lines(node)) > LINES_OF_A_FUNCTION
    }


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Every function and method with its name; what is defined in a function counts for that one, too."""
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, Function):
            name = f"{prefix}{child.name}."
            yield name[:-1], child
        elif isinstance(child, ast.ClassDef):
            name = f"{prefix}{child.name}."
        yield from functions(child, name)


def function_lines(node: Function) -> int:
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        doc = node.body[0]
        assert doc.end_lineno is not None
        lines -= doc.end_lineno - doc.lineno + 1
    return lines


def without_test() -> Sizes:
    """Modules whose test file, `tests/<the same path>/test_<name>.py`, is not there."""
    return {
        module.name: 1
        for module in modules().values()
        if not module.is_folder and module.path.name != "__main__.py" and not mirror_of(module.path).exists()
    }


def mirror_of(path: Path) -> Path:
    place = path.relative_to(ROOT)
    return ROOT / "tests" / place.parent / f"test_{place.name}"


def circles_of_files() -> Sizes:
    """Files that import each other, round about, with the size of their circle."""
    return {name: len(circle) for circle in circles(files()) for name in circle}


def circles_of_rooms() -> Sizes:
    """Rooms of one package that import each other, round about, with the size of their circle."""
    return {
        room: len(circle)
        for package in PACKAGES
        for circle in circles(inside(package, rooms()))
        for room in circle
    }


def in_no_contract() -> Sizes:
    """Packages and rooms that no contract of import-linter about the insides of packages names."""
    return dict.fromkeys(unnamed(), 1)


RULES: Mapping[str, Callable[[], Sizes]] = {
    "circles-of-files": circles_of_files,
    "circles-of-rooms": circles_of_rooms,
    "in-no-contract": in_no_contract,
    "lines-of-files": long_files,
    "lines-of-functions": long_functions,
    "without-test": without_test,
}


def listed() -> Mapping[str, Sizes]:
    return tomllib.loads(LIST.read_text())


def faults(rule: str) -> list[str]:
    """What is beyond the rule and further than the list allows."""
    allowed = listed().get(rule, {})
    return [
        f"{name}: {size}, may be {allowed[name]}" if name in allowed else f"{name}: {size}"
        for name, size in RULES[rule]().items()
        if size > allowed.get(name, 0)
    ]


def needless(rule: str) -> list[str]:
    """Lines of the list that allow more than is there."""
    found = RULES[rule]()
    return [name for name, size in listed().get(rule, {}).items() if found.get(name, 0) < size]


def shrunk(allowed: Sizes, found: Sizes) -> Sizes:
    """The list as it may be from now on: what is still there, at its present size, never more than before."""
    return {name: min(size, found[name]) for name, size in allowed.items() if name in found}


def dump(lists: Mapping[str, Sizes]) -> str:
    """The list as a file, sorted, so that merges are easy."""
    parts = ["# What may be beyond the rules of tests/arch/limits.py, and how far. It only shrinks:\n"]
    parts.append("# python -m tests.arch.limits --shrink\n")
    for rule, sizes in sorted(lists.items()):
        parts.append(f"\n[{rule}]\n")
        parts += (f'"{name}" = {size}\n' for name, size in sorted(sizes.items()))
    return "".join(parts)


def shrink() -> None:
    now = listed()
    LIST.write_text(dump({rule: shrunk(now.get(rule, {}), found()) for rule, found in RULES.items()}))


def main() -> int:
    if sys.argv[1:] == ["--shrink"]:
        shrink()
    wrong = False
    for rule in RULES:
        for text in faults(rule):
            print(f"{rule}: {text}")
            wrong = True
        for name in needless(rule):
            print(f"{rule}: {name} needs no exception any more: --shrink")
            wrong = True
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
