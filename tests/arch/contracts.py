"""Which rooms the contracts of import-linter are about: those in pyproject.toml, read like import-linter reads them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.arch.graph import PACKAGES, ROOT, modules, package_of, rooms

Contract = Mapping[str, Any]


def contracts() -> list[Contract]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[Contract] = project["tool"]["importlinter"]["contracts"]
    return found


def ordered(contract: Contract) -> set[str]:
    """The modules that a contract puts in an order, or holds apart; none for a ban on something from outside.

    A package that is only above or below another one is not ordered inside: that the contract has to name rooms.
    """
    kind = contract["type"]
    if kind == "layers":
        names = {name for layer in contract["layers"] for name in _members(layer)}
        containers = contract.get("containers", [])
        return {f"{container}.{name}" for container in containers for name in names} if containers else names
    if kind == "independence":
        return set(contract["modules"])
    if kind == "forbidden" and _are_ours(contract["forbidden_modules"]):
        return {*contract["source_modules"], *contract["forbidden_modules"]}
    if kind == "protected":
        return set(contract["protected_modules"])
    return set()


def _members(layer: str | Iterable[str]) -> Iterator[str]:
    """`a | b` and `a : b` are one layer of two; brackets say that a layer may be missing."""
    for text in [layer] if isinstance(layer, str) else layer:
        yield from (name.strip().strip("()") for name in re.split(r"[|:]", text))


def _are_ours(names: Iterable[str]) -> bool:
    return all(package_of(name) in PACKAGES for name in names)


def unnamed(found: Iterable[Contract] | None = None) -> list[str]:
    """Packages and rooms that no contract names. A package of no more than one room has nothing to be ordered."""
    named = {name for contract in (contracts() if found is None else found) for name in ordered(contract)}
    each = {package: [room for room in rooms() if package_of(room) == package] for package in PACKAGES}
    inner = [room for members in each.values() if len(members) > 1 for room in members]
    return [name for name in (*PACKAGES, *inner) if name not in named and not _is_named_by_files(name, named)]


def _is_named_by_files(room: str, named: set[str]) -> bool:
    """Where a contract orders the files of a room one by one, it has to name all of them."""
    members = {module.name for module in modules().values() if module.room == room and not module.is_folder}
    return bool(members) and members <= named
