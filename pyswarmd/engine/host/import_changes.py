"""Dockerfile instructions of `image import --change`: how the new image is run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from swarmcore.errors import Invalid
from worker.images.oci import RunConfig


def run_config(changes: Sequence[str]) -> RunConfig:
    """`changes` hold one instruction a line: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, WORKDIR, STOPSIGNAL, VOLUME."""
    found: dict[str, Any] = {"env": [], "labels": {}, "exposed_ports": {}, "volumes": {}}
    lines = (line.strip() for change in changes for line in change.splitlines())
    for line in filter(None, lines):
        word, _, rest = line.partition(" ")
        if not (rest := rest.strip()):
            raise Invalid(f"change {line!r} has no argument", "write it like CMD /bin/app")
        match word.upper():
            case "CMD" | "ENTRYPOINT":
                found[word.lower()] = _command(rest)
            case "ENV":
                found["env"] += [f"{key}={value}" for key, value in _pairs(line, rest)]
            case "LABEL":
                found["labels"] |= dict(_pairs(line, rest))
            case "EXPOSE":
                found["exposed_ports"] |= {p if "/" in p else f"{p}/tcp": {} for p in rest.split()}
            case "VOLUME":
                found["volumes"] |= {path: {} for path in _command(rest, shell=False)}
            case "USER":
                found["user"] = rest
            case "WORKDIR":
                found["working_dir"] = rest
            case "STOPSIGNAL":
                found["stop_signal"] = rest
            case _:
                raise Invalid(
                    f"{word.upper()} is not a valid change instruction",
                    "use CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR or STOPSIGNAL",
                )
    filled = {key: value for key, value in found.items() if value}
    if "env" in filled:
        filled["env"] = tuple(filled["env"])
    return RunConfig(**filled)


def _command(text: str, *, shell: bool = True) -> tuple[str, ...]:
    """The exec form as it is, the shell form through /bin/sh (in the container, not here)."""
    if text.startswith("["):
        try:
            words = json.loads(text)
        except (ValueError, RecursionError):
            words = None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise Invalid(f"invalid command {text!r}", 'write it like ["/bin/app", "-x"]')
        return tuple(words)
    return ("/bin/sh", "-c", text) if shell else tuple(text.split())


def _pairs(line: str, text: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Invalid(f"invalid change {line!r}: {error}") from None
    if words and "=" not in words[0]:
        return [(words[0], " ".join(words[1:]))]
    found = [word.partition("=") for word in words]
    if not found or any(not key or not sign for key, sign, _ in found):
        raise Invalid(f"invalid change {line!r}", "write it like ENV KEY=VALUE")
    return [(key, value) for key, _, value in found]
