"""The documents: links and paths lead somewhere, commands are described, lines are short, decisions have numbers."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyswarmd.cli.main import build
from tests.arch import prose

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as hosts of Git repositories make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    found = _LINK.findall(_CODE.sub("", page.read_text()))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def leads_nowhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.is_relative_to(ROOT) or not target.exists():
        return True
    return bool(anchor) and anchor not in anchors(target)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in links(page) if leads_nowhere(page, link)] == []


# Where a path is whole: from the root of the tree.
_PATH = re.compile(
    r"`((?:swarmcore|pki|netoverlay|manager|worker|stacks|pyswarmd|tests|bench|docs)/[\w./-]*)`"
)
# Decisions and the changelog tell of the time when they were written.
_OF_TODAY = [page for page in PAGES if page.name != "CHANGELOG.md" and page.parent.name != "decisions"]


@pytest.mark.parametrize("page", _OF_TODAY, ids=_name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    assert [path for path in _PATH.findall(page.read_text()) if not (ROOT / path).exists()] == []


def test_lines_of_documents_are_short() -> None:
    """`python -m tests.arch.prose --wrap` breaks those that are not."""
    assert [place for page in prose.pages() for place in prose.too_long(page)] == []


@pytest.mark.parametrize(
    "page",
    [
        "# " + "a heading " * 3 + "\n\nShort.\n",
        "```\n" + "code stays " * 20 + "\n```\n",
        "| " + "a row stays " * 20 + "|\n",
        "    " + "indented code stays " * 20 + "\n",
        "short lines\nare left\nas they are\n",
    ],
    ids=["heading", "fence", "table", "code", "short"],
)
def test_what_cannot_or_need_not_be_broken_stays(page: str) -> None:
    assert prose.wrapped(page) == page


def test_a_paragraph_with_a_long_line_is_filled_anew() -> None:
    page = "- " + "one item " * 20 + "\n  and more\n- another\n"
    lines = prose.wrapped(page).splitlines()
    assert prose.wrapped(page).split() == page.split()
    assert all(len(line) <= prose.WIDTH for line in lines)
    assert lines[1].startswith("  ") and lines[-1] == "- another"


def test_no_line_begins_with_what_markdown_takes_for_an_item() -> None:
    for words in range(20, 40):
        page = "word " * words + "- 1. # end" + " more" * 30 + "\n"
        assert not re.search(r"^(-|1\.|#) ", prose.wrapped(page), re.MULTILINE)


Command = tuple[tuple[str, ...], argparse.ArgumentParser]


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[Command]:
    """Every command that has no commands of its own."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield words, parser
    for group in groups:
        for word, inner in group.choices.items():
            yield from commands(inner, (*words, word))


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return {
        name
        for action in parser._actions
        for name in action.option_strings
        if name.startswith("--") and "=" not in name
    }


def test_every_command_is_described() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    missing = [
        " ".join(words)
        for words, _ in commands(build())
        if not re.search(rf"`(pyswarm )?{' '.join(map(re.escape, words))}(?![\w-])", text)
    ]
    assert missing == []


def test_every_flag_is_described() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    known = set().union(*(flags(parser) for _, parser in commands(build())))
    # The flags of rollbacks are those of updates with another first word.
    known -= {flag for flag in known if flag.replace("--rollback-", "--update-") in known - {flag}}
    assert sorted(flag for flag in known if not re.search(rf"{re.escape(flag)}(?![\w-])", text)) == []


def test_no_two_decisions_share_a_number() -> None:
    names = [path.name for path in (ROOT / "docs/decisions").glob("*.md")]
    assert [name for name in names if not re.match(r"\d{4}-[a-z0-9-]+\.md$", name)] == []
    numbers = Counter(name[:4] for name in names)
    assert [number for number, count in numbers.items() if count > 1] == []


def test_a_decision_begins_with_its_number() -> None:
    wrong = [
        path.name
        for path in (ROOT / "docs/decisions").glob("*.md")
        if not path.read_text().startswith(f"# {path.name[:4]}: ")
    ]
    assert wrong == []


def test_every_case_of_images_has_its_test() -> None:
    """The tables of docs/design/images.md name tests that are there."""
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/design/images.md").read_text()))
    source = "".join(path.read_text() for path in (ROOT / "tests/worker/images").glob("test_*.py"))
    defined = set(re.findall(r"^(?:async )?def (test_\w+)", source, re.MULTILINE))
    assert len(named) > 30
    assert named <= defined
