"""Shell patterns as Go's `path.Match` reads them: `*` and `?` stop at a slash. Time is bounded: text times pattern."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct

from swarmcore.errors import Invalid

_LONGEST = 1024


class _One(Struct, frozen=True):
    """One character: any but a slash, or one of (or none of) these ranges."""

    ranges: tuple[tuple[str, str], ...] = ()
    negated: bool = True

    def fits(self, character: str) -> bool:
        inside = any(low <= character <= high for low, high in self.ranges)
        return inside is not self.negated and (bool(self.ranges) or character != "/")


class _Many(Struct, frozen=True):
    """Any number of characters but slashes."""


_Piece = _One | _Many


def matches(pattern: str, text: str) -> bool:
    """Whether `text`, all of it, fits `pattern`. Invalid if the pattern is none."""
    pieces = _pieces(pattern)
    at = piece = 0
    retry_piece, retry_at = -1, 0  # behind the last star, and how far that star has reached
    while at < len(text):
        found = pieces[piece] if piece < len(pieces) else None
        if isinstance(found, _Many):
            retry_piece, retry_at = piece + 1, at
            piece += 1
        elif found is not None and found.fits(text[at]):
            piece, at = piece + 1, at + 1
        elif retry_piece >= 0 and text[retry_at] != "/":
            # The last star takes one more. An earlier one cannot help: this one could take all that it could.
            retry_at += 1
            piece, at = retry_piece, retry_at
        else:
            return False
    return all(isinstance(left, _Many) for left in pieces[piece:])


@lru_cache(maxsize=256)
def _pieces(pattern: str) -> tuple[_Piece, ...]:
    if len(pattern) > _LONGEST:
        raise Invalid(f"the pattern is too long: {len(pattern)} characters", f"at most {_LONGEST}")
    found: list[_Piece] = []
    characters = iter(pattern)
    for character in characters:
        match character:
            case "*":
                if not found or not isinstance(found[-1], _Many):
                    found.append(_Many())
            case "?":
                found.append(_One())
            case "[":
                found.append(_class(pattern, characters))
            case "\\":
                literal = _next(pattern, characters)
                found.append(_One(((literal, literal),), negated=False))
            case literal:
                found.append(_One(((literal, literal),), negated=False))
    return tuple(found)


def _class(pattern: str, characters: Iterator[str]) -> _One:
    """What stands between brackets: single characters and ranges, after ^ all others."""
    negated, ranges = False, list[tuple[str, str]]()
    character = _next(pattern, characters)
    if character == "^":
        negated, character = True, _next(pattern, characters)
    while not (character == "]" and ranges):
        low = high = _bound(pattern, character, characters)
        character = _next(pattern, characters)
        if character == "-":
            high = _bound(pattern, _next(pattern, characters), characters)
            character = _next(pattern, characters)
        ranges.append((low, high))
    return _One(tuple(ranges), negated=negated)


def _bound(pattern: str, character: str, characters: Iterator[str]) -> str:
    if character == "\\":
        return _next(pattern, characters)
    if character in "-]":
        raise Invalid(f"syntax error in pattern {pattern!r}")
    return character


def _next(pattern: str, characters: Iterator[str]) -> str:
    try:
        return next(characters)
    except StopIteration:
        raise Invalid(f"syntax error in pattern {pattern!r}") from None
