"""The JSON of images: manifests, indexes, docker-save manifests and image configs, checked as they are read."""

from __future__ import annotations

import hashlib
import platform
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from swarmcore.errors import Invalid

T = TypeVar("T")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}
INDEX_TYPES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)


class Descriptor(Struct, frozen=True, kw_only=True, rename="camel"):
    media_type: str = ""
    digest: str
    size: int = 0
    annotations: dict[str, str] = {}
    platform: dict[str, Any] | None = None


class Index(Struct, frozen=True, kw_only=True, rename="camel"):
    manifests: tuple[Descriptor, ...]


class Manifest(Struct, frozen=True, kw_only=True, rename="camel"):
    config: Descriptor
    layers: tuple[Descriptor, ...]


class SavedImage(Struct, frozen=True, kw_only=True, rename="pascal"):
    """One entry of docker save's manifest.json."""

    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] = ()


class Healthcheck(Struct, frozen=True, kw_only=True, rename="pascal"):
    test: tuple[str, ...] = ()


class RunConfig(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """The `config` object of an image: how to run it."""

    user: str = ""
    exposed_ports: dict[str, Any] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None


class RootFs(Struct, frozen=True, kw_only=True):
    type: str = "layers"
    diff_ids: tuple[str, ...] = ()


class ImageConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an image id is the digest of."""

    architecture: str
    os: str
    created: datetime | None = None
    author: str = ""
    config: RunConfig | None = field(default_factory=RunConfig)
    rootfs: RootFs
    history: tuple[dict[str, Any], ...] | None = None
    variant: str = ""

    @property
    def run(self) -> RunConfig:
        return self.config or RunConfig()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def decode(content: bytes, kind: type[T], what: str) -> T:
    """`content` as `kind`; Invalid names `what` if it is not that."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{what} is malformed: {error}") from None


def host_architecture() -> str:
    """This machine's architecture in the words of images."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def check_config(config: ImageConfig) -> None:
    """Refuse what cannot run here or is no image at all."""
    if config.os != "linux":
        raise Invalid(f"the image is for {config.os or 'an unnamed system'}; only linux images can run")
    if not config.rootfs.diff_ids:
        raise Invalid("the image has no layers")
