"""How the OCI image specification has layers applied, written down plainly: the other reading to compare with.

A tree of nodes in memory; each knows which layer touched it last, because a whiteout hides only what lower layers have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


class Refused(Exception):
    """No layer may say that."""


@dataclass(frozen=True)
class Entry:
    """`kind`: file, dir, link, hard, gone (whiteout), opaque. `text`: content, mode or target."""

    kind: str
    path: str
    text: str = ""


@dataclass
class Node:
    kind: str
    text: str
    layer: int
    children: dict[str, Node] = field(default_factory=dict)


class Tree:
    def __init__(self) -> None:
        self.root = Node("dir", "755", 0)
        self._layer = 0

    def apply(self, entries: Sequence[Entry]) -> None:
        self._layer += 1
        self.root.layer = self._layer
        for entry in entries:
            self._apply(entry)

    def shown(self) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}

        def look(node: Node, path: str) -> None:
            for name, child in node.children.items():
                found[f"{path}{name}"] = (child.kind, child.text)
                look(child, f"{path}{name}/")

        look(self.root, "")
        return found

    # -- paths ---------------------------------------------------------------------------------------
    def _walk(self, path: str, *, make: bool) -> list[Node]:
        """The directories from the root to `path`, through links; with `make`, what is missing is made."""
        todo, trail, links = path.split("/"), [self.root], 0
        while todo:
            name = todo.pop(0)
            if name in ("", "."):
                continue
            if name == "..":
                trail = trail[:-1] or trail
                continue
            child = trail[-1].children.get(name)
            if child is not None and child.kind == "link":
                links += 1
                if links > 40:
                    raise Refused
                if child.text.startswith("/"):
                    trail = trail[:1]
                todo = child.text.split("/") + todo
                continue
            if child is not None and child.kind != "dir":
                if child.layer == self._layer or not make:
                    raise Refused
                child = None  # a lower layer's file gives way
            if child is None:
                if not make:
                    raise Refused
                child = trail[-1].children[name] = Node("dir", "755", self._layer)
            trail.append(child)
        if make:
            for node in trail:
                node.layer = self._layer
        return trail

    # -- entries -------------------------------------------------------------------------------------
    def _apply(self, entry: Entry) -> None:
        above, _, name = entry.path.rpartition("/")
        if entry.kind == "opaque":
            self._hide_lower(self._walk(entry.path, make=True)[-1])
            return
        parent = self._walk(above, make=True)[-1]
        there = parent.children.get(name)
        if entry.kind == "gone":
            if there is not None and there.layer != self._layer:
                del parent.children[name]
            elif there is not None:
                self._hide_lower(there)
            return
        if entry.kind == "dir" and there is not None and there.kind == "dir":
            there.text, there.layer = entry.text, self._layer
            return
        parent.children.pop(name, None)
        if entry.kind == "hard":
            parent.children[name] = self._linked(entry.text)
        else:
            parent.children[name] = Node(entry.kind, entry.text, self._layer)

    def _hide_lower(self, node: Node) -> None:
        for name, child in list(node.children.items()):
            if child.layer != self._layer:
                del node.children[name]
            else:
                self._hide_lower(child)

    def _linked(self, path: str) -> Node:
        above, _, name = path.rpartition("/")
        trail = self._walk(above, make=False)
        target = trail[-1].children.get(name)
        if target is None or target.kind == "dir":
            raise Refused
        if target.layer != self._layer:  # copied up, and its directories with it
            for node in trail:
                node.layer = self._layer
            target.layer = self._layer
        return target
