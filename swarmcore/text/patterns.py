"""Regular expressions for text from outside: every pattern of pyswarm is a `Pattern` at the top of its module.

Nothing longer than a pattern's `longest` is ever matched, and patterns are written so that matching takes linear
time: a repeated group begins with something that cannot also continue it. tests/arch/test_patterns.py finds
every pattern of the tree and runs it against text made to let it backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Callable


class Pattern:
    """`source` for texts of at most `longest` characters: whatever is longer does not fit."""

    def __init__(self, source: str, longest: int, flags: re.RegexFlag = re.NOFLAG) -> None:
        self.compiled = re.compile(source, flags)
        self.longest = longest

    def fullmatch(self, text: str) -> re.Match[str] | None:
        return self.compiled.fullmatch(text) if len(text) <= self.longest else None

    def match(self, text: str, position: int = 0) -> re.Match[str] | None:
        """At `position`, not further on."""
        return self.compiled.match(text, position) if len(text) <= self.longest else None

    def search(self, text: str) -> re.Match[str] | None:
        return self.compiled.search(text) if len(text) <= self.longest else None

    def sub(self, replacement: str | Callable[[re.Match[str]], str], text: str) -> str:
        """`text` as it is where it is too long."""
        return self.compiled.sub(replacement, text) if len(text) <= self.longest else text


IGNORECASE = re.IGNORECASE
ASCII = re.ASCII
Match = re.Match
