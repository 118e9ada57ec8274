"""The Dockerfile instructions that `image import --change` takes, as a run config."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from swarmcore.errors import Invalid
from worker.images.oci import RunConfig


def apply_changes(lines: Sequence[str], base: RunConfig | None = None) -> RunConfig:
    """`base` after CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR lines."""
    found = base or RunConfig()
    for line in lines:
        if text := line.strip():
            found = _apply(found, text)
    return found


def _apply(base: RunConfig, line: str) -> RunConfig:
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if not rest:
        raise Invalid(f"change {line!r} lacks its argument")
    match name.upper():
        case "CMD":
            return replace(base, cmd=_command(rest))
        case "ENTRYPOINT":
            return replace(base, entrypoint=_command(rest))
        case "ENV":
            new = _pairs(rest)
            kept = [entry for entry in base.env or () if entry.partition("=")[0] not in new]
            return replace(base, env=(*kept, *(f"{key}={value}" for key, value in new.items())))
        case "LABEL":
            return replace(base, labels={**(base.labels or {}), **_pairs(rest)})
        case "EXPOSE":
            ports = {port if "/" in port else f"{port}/tcp": dict[str, Any]() for port in rest.split()}
            return replace(base, exposed_ports={**(base.exposed_ports or {}), **ports})
        case "VOLUME":
            paths = _json(rest) or tuple(rest.split())
            return replace(base, volumes={**(base.volumes or {}), **{path: {} for path in paths}})
        case "STOPSIGNAL":
            return replace(base, stop_signal=rest)
        case "USER":
            return replace(base, user=rest)
        case "WORKDIR":
            return replace(base, working_dir=rest)
    raise Invalid(
        f"change {name} is not known: use CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR"
    )


def _json(text: str) -> tuple[str, ...] | None:
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tuple(words) if all(isinstance(word, str) for word in words) else None


def _command(text: str) -> tuple[str, ...]:
    """The JSON form as it stands; any other text is for the image's own shell, as in a Dockerfile."""
    return _json(text) or ("/bin/sh", "-c", text)


def _pairs(text: str) -> dict[str, str]:
    """`a=1 b="2 3"`, or the old form `a 1 2`."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Invalid(f"change {text!r} is malformed: {error}") from None
    if "=" not in words[0]:
        key, _, value = text.partition(" ")
        return {key: value.strip()}
    if wrong := [word for word in words if "=" not in word]:
        raise Invalid(f"change {text!r} is malformed: {wrong[0]!r} has no '='")
    return dict(word.split("=", 1) for word in words)
