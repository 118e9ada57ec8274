"""`--env` and `--env-file`: variables as people type them, and files of them (docker/cli pkg/kvfile)."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from swarmcore.errors import Invalid, NotFound, clipped

LARGEST_FILE = 1 << 20  # bytes: a service's whole spec may have no more


def environment(typed: Sequence[str], files: Sequence[str], own: Mapping[str, str] = os.environ) -> list[str]:
    """What files say, then what was typed. `KEY` alone takes the value that it has here.

    Without one a typed `KEY` is unset in the container, and one of a file is left out, as with docker.
    """
    return [
        *(entry for file in files for entry in _of_file(file, own)),
        *(_typed(item, own) for item in typed),
    ]


def _typed(item: str, own: Mapping[str, str]) -> str:
    key, sign, _ = item.partition("=")
    if not key:
        raise Invalid(f"invalid environment variable {clipped(item)}", "write it like KEY=VALUE")
    return item if sign or key not in own else f"{key}={own[key]}"


def _of_file(file: str, own: Mapping[str, str]) -> Iterator[str]:
    """Values are taken as they are, blanks at their end too; only the line's end belongs to nobody."""
    for number, line in enumerate(_lines(file), start=1):
        line = line.lstrip()
        if not line or line.startswith("#"):
            continue
        key, sign, _ = line.partition("=")
        if not key or any(character.isspace() for character in key):
            why = "has blanks in its name" if key else "has no name"
            raise Invalid(
                f"env file {file}, line {number}: the variable {clipped(line)} {why}",
                "write it like KEY=VALUE",
            )
        if sign:
            yield line
        elif key in own:
            yield f"{key}={own[key]}"


def _lines(file: str) -> Iterator[str]:
    """Lines of UTF-8 text, of Unix or Windows, with or without a byte-order mark."""
    try:
        with Path(file).open("rb") as opened:
            raw = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        raise NotFound(f"cannot read the env file {file}: {error.strerror}") from None
    if len(raw) > LARGEST_FILE:
        raise Invalid(f"env file {file} is larger than {LARGEST_FILE >> 20} MiB", "put files into the image")
    for number, line in enumerate(raw.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise Invalid(f"env file {file}, line {number}: not UTF-8", "save the file as UTF-8") from None
        if "\0" in text:
            raise Invalid(f"env file {file}, line {number}: it holds a zero byte", "it is no text file")
        yield text
