"""`--mount` as people type it (docker/cli opts/mount.go)."""

from __future__ import annotations

from typing import Any

from pyswarmd.cli import units
from swarmcore.errors import Invalid
from swarmcore.text.booleans import boolean

_SAME = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_KEYS = ("bind-propagation", "readonly", "source", "target", "tmpfs-mode", "tmpfs-size", "type", *_SAME)


def mount(text: str) -> dict[str, Any]:
    """`type=bind,src=/a,dst=/b,readonly` as an API mount. Of a key that is there twice the last one counts."""
    given: dict[str, str] = {}
    for key, value in units.options(text, "mount"):
        if key not in _KEYS:
            raise Invalid(f"mount option {key!r} is not known", f"known are {', '.join(sorted(_KEYS))}")
        given[_SAME.get(key, key)] = value
    if not (target := given.get("target")):
        raise Invalid(f"mount {text!r} has no target", "add dst=/path")
    found: dict[str, Any] = {"Type": given.get("type", "volume").lower(), "Target": target}
    if source := given.get("source"):
        found["Source"] = source
    # A word that is not understood is no no: what was to be read only would be written to.
    if boolean(given.get("readonly", "false"), "readonly"):
        found["ReadOnly"] = True
    if propagation := given.get("bind-propagation"):
        found["BindOptions"] = {"Propagation": propagation.lower()}
    tmpfs: dict[str, Any] = {}
    if "tmpfs-size" in given:
        tmpfs["SizeBytes"] = units.size(given["tmpfs-size"])
    if "tmpfs-mode" in given:
        tmpfs["Mode"] = _octal(given["tmpfs-mode"])
    return found | ({"TmpfsOptions": tmpfs} if tmpfs else {})


def _octal(text: str) -> int:
    if not 0 < len(text) <= 11 or not set(text) <= set("01234567"):
        raise Invalid(f"invalid tmpfs-mode {text!r}", "write it in octal, like 1777")
    return int(text, 8)
