"""The JSON of images: manifests, indexes, docker-save manifests and image configs, checked as they are read."""

from __future__ import annotations

import hashlib
import platform
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from swarmcore.errors import Invalid

T = TypeVar("T")
_VARIANTS = {"arm": "v7", "arm64": "v8"}  # what a machine without a word of its own is
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}
_DOCKER = "application/vnd.docker"
_OCI = "application/vnd.oci.image"
MANIFEST_TYPES = frozenset({f"{_OCI}.manifest.v1+json", f"{_DOCKER}.distribution.manifest.v2+json"})
INDEX_TYPES = frozenset({f"{_OCI}.index.v1+json", f"{_DOCKER}.distribution.manifest.list.v2+json"})


CONFIG_TYPES = frozenset({f"{_OCI}.config.v1+json", f"{_DOCKER}.container.image.v1+json"})


class Descriptor(Struct, frozen=True, kw_only=True, rename="camel"):
    media_type: str = ""
    digest: str
    size: int = 0
    annotations: dict[str, str] = {}
    artifact_type: str = ""
    platform: Platform | None = None

    @property
    def is_other(self) -> bool:
        """It says itself that it is no image: an attestation, a signature, something for another program."""
        by_type = self.media_type and self.media_type not in MANIFEST_TYPES
        beside = self.platform is not None and self.platform.os == "unknown"
        return bool(
            by_type or beside or self.artifact_type or "vnd.docker.reference.type" in self.annotations
        )


class Platform(Struct, frozen=True, kw_only=True):
    os: str = "linux"
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


class Index(Struct, frozen=True, kw_only=True, rename="camel"):
    manifests: tuple[Descriptor, ...] = ()


class Manifest(Struct, frozen=True, kw_only=True, rename="camel"):
    config: Descriptor
    layers: tuple[Descriptor, ...] = ()
    artifact_type: str = ""

    @property
    def is_other(self) -> bool:
        """Config types that nobody has heard of are given a chance: some tools make up their own."""
        known = "vnd.oci.empty" not in self.config.media_type and "artifact" not in self.config.media_type
        return bool(self.artifact_type) or not known


class SavedImage(Struct, frozen=True, kw_only=True, rename="pascal"):
    """One entry of docker save's manifest.json."""

    config: str
    repo_tags: tuple[str, ...] = ()
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

    architecture: str = ""
    os: str = ""
    created: Annotated[datetime, Meta(tz=True)] | None = None
    author: str = ""
    config: RunConfig | None = field(default_factory=RunConfig)
    rootfs: RootFs
    history: tuple[dict[str, Any], ...] | None = None
    variant: str = ""

    @property
    def platform(self) -> Platform:
        """Where it runs; what it does not say is as here, as in Docker."""
        architecture = self.architecture or host_architecture()
        return Platform(os=self.os or "linux", architecture=architecture, variant=self.variant)

    @property
    def run(self) -> RunConfig:
        return self.config or RunConfig()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def decode(content: bytes, kind: type[T], what: str) -> T:
    """`content` as `kind`, read as Go reads it: null means absent. Invalid names `what` if it is not that."""
    try:
        return msgspec.convert(_as_in_go(msgspec.json.decode(content)), kind)
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError, OverflowError, RecursionError) as error:
        raise Invalid(f"{what} is malformed: {str(error)[:300]}") from None


def _as_in_go(value: Any) -> Any:
    if isinstance(value, dict):
        found = {key: _as_in_go(inner) for key, inner in value.items() if inner is not None}
        for key in ("Cmd", "Entrypoint"):  # one word may stand for itself
            if isinstance(word := found.get(key), str):
                found[key] = [word]
        return found
    return [_as_in_go(inner) for inner in value] if isinstance(value, list) else value


def host_architecture() -> str:
    """This machine's architecture in the words of images."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def rank(wanted: Platform) -> int | None:
    """How well an image of that platform runs here: 0 is best, None not at all."""
    if wanted.os not in ("", "linux") or wanted.architecture not in ("", host_architecture()):
        return None
    best = _VARIANTS.get(wanted.architecture, "v1")
    if wanted.variant in ("", best):
        return 0
    version = wanted.variant.removeprefix("v")
    mine = int(best.removeprefix("v"))
    return mine - int(version) if version.isdecimal() and int(version) <= mine else None


def check_config(config: ImageConfig) -> None:
    """Refuse what cannot run here or is no image at all."""
    if config.os not in ("", "linux"):
        raise Invalid(f"the image is for {config.os[:40]}; only linux images can run")
    try:
        if config.created is not None:
            config.created.astimezone(UTC)
    except OverflowError:
        raise Invalid("the image was created before all time") from None
    if config.rootfs.type not in ("", "layers"):
        raise Invalid(f"the image has a root file system of the unknown kind {config.rootfs.type[:40]!r}")
