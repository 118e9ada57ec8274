"""Every regular expression of the tree takes linear time, and meets no text before its length is known."""

from __future__ import annotations

import ast
import importlib
import signal
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import FrameType

import pytest
from aiohttp import web

from pyswarmd.engine.app import routes
from swarmcore.text.patterns import Pattern
from tests.arch.test_shape import PACKAGES, ROOT

_LENGTH = 20_000  # characters: quadratic time is 400 million steps, linear is nothing
_PATIENCE = 0.3  # seconds of this process' own time; linear takes milliseconds
_METHODS = ("fullmatch", "match", "search", "sub")
_OWN = ROOT / "swarmcore" / "text" / "patterns.py"


def _modules() -> Iterator[Path]:
    for package in (*PACKAGES, "bench"):
        yield from sorted((ROOT / package).rglob("*.py"))


def _patterns() -> Iterator[tuple[str, Pattern, set[str]]]:
    """Where each is, and how it is used there (in every way, where nothing in its own module tells)."""
    for path in _modules():
        if "Pattern(" not in path.read_text() or path == _OWN:
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found = {key: v for key, v in vars(importlib.import_module(name)).items() if isinstance(v, Pattern)}
        uses: dict[str, set[str]] = {key: set() for key in found}
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in uses:
                uses[node.value.id].add(node.attr)
        for key, pattern in found.items():
            yield f"{name}.{key}", pattern, uses[key] & set(_METHODS) or set(_METHODS)


FOUND = list(_patterns())


class _TooSlow(Exception):
    pass


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise _TooSlow


@pytest.fixture
def alarm() -> Iterator[None]:
    """The clock of the process' own time: the machine's load does not count."""
    before = signal.signal(signal.SIGVTALRM, _interrupt)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def _pumps(source: str) -> Iterator[str]:
    """What may make it go round: its own characters and words, alone and in pairs with what separates them."""
    letters = sorted(
        {c for c in source if c.isalnum() or c in "-_./:{}[]\"'`= @,;+\\"} | set('aA0-_. \n{"\\')
    )
    yield from letters
    yield from (one + other for one in "a0._-{ " for other in letters if one != other)
    yield from {word for word in source.replace("\\", " ").split() if len(word) > 1}
    bare = source.replace("\\", "")
    yield from {bare[start : start + 12] for start in range(0, len(bare), 3)}


def _texts(source: str) -> Iterator[str]:
    for pump in _pumps(source):
        body = pump * (_LENGTH // len(pump))
        for tail in ("", "!", "\x00"):
            yield body + tail
    for head in (
        'time="',
        "{{",
        "{{.",
        '"',
        "a=",
        "th dport {",
        " type filter hook input policy ",
        "sha256:",
        "a/",
    ):
        yield head + "a" * _LENGTH + "!"


@pytest.mark.parametrize(("name", "pattern", "methods"), FOUND, ids=[name for name, _, _ in FOUND])
@pytest.mark.usefixtures("alarm")
def test_no_text_makes_a_pattern_go_back_and_forth(name: str, pattern: Pattern, methods: set[str]) -> None:
    compiled = pattern.compiled
    for text in _texts(compiled.pattern):
        signal.setitimer(signal.ITIMER_VIRTUAL, _PATIENCE)
        try:
            for method in sorted(methods):
                if method == "sub":
                    compiled.sub("", text)
                else:
                    getattr(compiled, method)(text)
        except _TooSlow:
            pytest.fail(f"{name} takes more than linear time: {text[:24]!r}…{text[-4:]!r}")
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)


@pytest.mark.usefixtures("alarm")
def test_no_path_makes_the_router_go_back_and_forth() -> None:
    router = web.UrlDispatcher()
    for method, path, handler in routes():
        router.add_route(method, path, handler)
    compiled = {info["pattern"] for each in router.resources() if "pattern" in (info := each.get_info())}
    assert len(compiled) > 50
    for pump in ("/", "a", "/json", "json/", "/v1", "1.", "%2f", "images/"):
        for head, tail in product(("", "/v1.41/", "/v1.41/images/"), ("", "/json", "/tag", "!")):
            text = head + pump * (_LENGTH // len(pump)) + tail
            signal.setitimer(signal.ITIMER_VIRTUAL, _PATIENCE)
            try:
                found = [pattern.fullmatch(text) for pattern in compiled]
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            assert len(found) == len(compiled)


@pytest.mark.parametrize(
    "bad",
    [r"[a-z0-9](?:[-_]*[a-z0-9]+)*", r"(\d+)(s|m)", r"\S*T\S*: ", r"\{\{(.*?)\}\}"],
)
@pytest.mark.usefixtures("alarm")
def test_the_test_above_sees_those_that_did_harm(bad: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="more than linear"):
        test_no_text_makes_a_pattern_go_back_and_forth("bad", Pattern(bad, 1), {"fullmatch", "search"})


def _imports_re(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name == "re" for alias in node.names)
    return isinstance(node, ast.ImportFrom) and node.module == "re"


def _makes_pattern(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Pattern"


def test_every_pattern_is_one_of_ours_and_stands_at_the_top_of_its_module() -> None:
    """So that the tests above find it, and nobody forgets its limit."""
    faults: list[str] = []
    for path in _modules():
        text = path.read_text()
        if path == _OWN or not ("Pattern(" in text or "import re" in text or "from re " in text):
            continue
        tree = ast.parse(text)
        tops = [statement for statement in tree.body if isinstance(statement, ast.Assign)]
        top = {id(node) for statement in tops for node in ast.walk(statement)}
        for node in ast.walk(tree):
            fault = ""
            if _imports_re(node):
                fault = "use swarmcore.text.patterns instead of re"
            elif _makes_pattern(node) and id(node) not in top:
                fault = "a pattern stands at the top of its module, under a name"
            if fault:
                faults.append(f"{path.relative_to(ROOT)}: {fault}")
    assert faults == []


def test_nothing_longer_than_the_limit_is_matched() -> None:
    pattern = Pattern(r"a*", 3)
    assert pattern.fullmatch("aaa") and pattern.match("aaa") and pattern.search("aaa")
    assert not (pattern.fullmatch("aaaa") or pattern.match("aaaa") or pattern.search("aaaa"))
    assert (pattern.sub("b", "aaaa"), Pattern("a", 3).sub("b", "aa")) == ("aaaa", "bb")
