"""Images as the Engine API shows them: every key that Docker's structs have, set or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from pyswarmd.engine.shown.objects import ZERO_TIME
from worker.images.index import Image
from worker.images.oci import ImageConfig

Shown = dict[str, Any]


class Configs(Protocol):
    """What this host's images say of themselves. Both read the disk."""

    def config(self, image: Image) -> ImageConfig: ...

    def raw_config(self, image: Image) -> bytes:
        """As the archive had it."""
        ...


DRIVER = "overlayfs"  # not overlay2: clients that know that one look for Docker's own directories

# What Docker's struct of a container's configuration always writes; null where Go has a nil slice or map.
_CONFIG: Shown = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}
# What it writes only where an image sets it.
_OPTIONAL = (
    *("ExposedPorts", "Healthcheck", "ArgsEscaped", "NetworkDisabled", "MacAddress"),
    *("StopSignal", "StopTimeout", "Shell"),
)


def summary(image: Image, configs: Configs, names: Sequence[str], digests: Sequence[str]) -> Shown:
    """One row of a list. `names` and `digests` are those that the list was asked for."""
    if not names and not digests:
        names, digests = ("<none>:<none>",), ("<none>@<none>",)
    created = image.created or image.loaded
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": list(names) or None,
        "RepoDigests": list(digests) or None,
        "Created": int(created.timestamp()),
        "Size": image.size,
        "VirtualSize": image.size,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": dict(configs.config(image).run.labels or {}) or None,
    }


def details(image: Image, configs: Configs) -> Shown:
    """GET /images/{name}/json. Reads the image's configuration from the disk."""
    config = configs.config(image)
    raw: Shown = json.loads(configs.raw_config(image))
    history = config.history or ()
    return {
        "Id": image.id,
        "RepoTags": list(image.names),
        "RepoDigests": list(image.digests),
        "Parent": "",
        "Comment": str(history[-1].get("comment") or "") if history else "",
        "Created": (image.created or image.loaded).isoformat().replace("+00:00", "Z"),
        "Container": "",
        "ContainerConfig": dict(_CONFIG),
        "DockerVersion": _text(raw.get("docker_version")),
        "Author": config.author,
        "Config": _config(raw.get("config")),
        "Architecture": config.architecture,
        **({"Variant": config.variant} if config.variant else {}),
        "Os": config.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Data": None, "Name": DRIVER},
        "RootFS": {"Type": "layers", "Layers": list(image.layers)},
        "Metadata": {"LastTagTime": ZERO_TIME},
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _config(given: Any) -> Shown:
    """The image's own, with the keys that it leaves out."""
    held = given if isinstance(given, dict) else {}
    set_here = {key: held[key] for key in _OPTIONAL if held.get(key)}
    return {key: held.get(key, unset) for key, unset in _CONFIG.items()} | set_here
