"""Which images a node has: the list on disk, changed as a value, and made anew where it was lost."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from swarmcore.errors import Conflict, Invalid
from swarmcore.files import write_atomically
from swarmcore.text.image_reference import parse
from worker.images import oci
from worker.images.archive import ArchivedImage
from worker.images.keys import directory_name, keys
from worker.images.merged import is_opaque
from worker.images.reader import Stacked

log = logging.getLogger(__name__)
_AGAIN = "load the archives again to give the images their names back"


class Image(Struct, frozen=True, kw_only=True):
    """An image that is here: `id` is the digest of its config."""

    id: str
    names: tuple[str, ...] = ()  # full text with tag, short form
    digests: tuple[str, ...] = ()  # name@digest of manifests it came by
    layers: tuple[str, ...]
    stack: tuple[str, ...] | None = (
        None  # keys of the directories; None: `layers`, as earlier versions had it
    )
    created: datetime | None = None
    loaded: datetime
    size: int

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the layers to stack, from the lowest up."""
        return self.layers if self.stack is None else self.stack


class Index(Struct, frozen=True, kw_only=True):
    images: tuple[Image, ...] = ()
    layer_sizes: dict[str, int] = {}  # by key

    def used(self) -> set[str]:
        return {key for image in self.images for key in image.keys}


class Removal(Struct, frozen=True, kw_only=True):
    """What `remove` did, in Docker's words."""

    untagged: tuple[str, ...]
    deleted: tuple[str, ...]


# -- changes ---------------------------------------------------------------------------------------------
def added(index: Index, found: Stacked, now: datetime) -> Index:
    """With one more image. A name has one image: the newest that was given it."""
    image = found.image
    config = oci.decode(image.raw_config, oci.ImageConfig, "the image's config")
    old = next((known for known in index.images if known.id == image.id), None)
    digests = {f"{parse(name).familiar_name}@{digest}" for name in image.names for digest in image.digests}
    entry = Image(
        id=image.id,
        names=tuple(sorted({*(old.names if old else ()), *image.names})),
        digests=tuple(sorted({*(old.digests if old else ()), *digests})),
        layers=config.rootfs.diff_ids,
        stack=None if found.stack == config.rootfs.diff_ids else found.stack,
        created=config.created,
        loaded=old.loaded if old else now,
        size=sum(index.layer_sizes[key] for key in found.stack),
    )
    others = tuple(
        replace(known, names=tuple(name for name in known.names if name not in image.names))
        for known in index.images
        if known.id != image.id
    )
    return replace(index, images=(*others, entry))


def named(index: Index, image_id: str, name: str) -> Index:
    """With `name` for this image, and for no other."""
    images = tuple(
        replace(image, names=tuple(sorted({*image.names, name})))
        if image.id == image_id
        else replace(image, names=tuple(known for known in image.names if known != name))
        for image in index.images
    )
    return replace(index, images=images)


def without(
    index: Index, image: Image, text: str, name: str, holders: int, *, force: bool
) -> tuple[Index, Removal]:
    """Without `name`; with the last one, or without any (by id), the image goes too, unless containers use it."""
    if name:
        gone: tuple[str, ...] = (name,)
    elif len(image.names) > 1 and not force:
        raise Conflict(f"image {text} has several names: {', '.join(image.names)}", "use force to remove all")
    else:
        gone = image.names
    left = tuple(known for known in image.names if known not in gone)
    if not left and holders:
        raise Conflict(
            f"image {text} is used by {holders} container(s) on this node", "remove their services first"
        )
    others = tuple(known for known in index.images if known.id != image.id)
    images = (*others, replace(image, names=left)) if left else others
    return replace(index, images=images), Removal(untagged=gone, deleted=() if left else (image.id,))


# -- on disk ---------------------------------------------------------------------------------------------
def save(path: Path, index: Index) -> Index:
    """Write it; the index as it is from now on."""
    used = index.used()
    index = replace(index, layer_sizes={key: size for key, size in index.layer_sizes.items() if key in used})
    content = json.dumps(msgspec.to_builtins(index), indent=1).encode()
    write_atomically(path, content, durable=True)
    return index


def load(path: Path, blobs: Path, layers_directory: Path, now: datetime) -> Index:
    """The list; where it is lost it is made of the configs and layers that are there, and that is said."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        if not any(blobs.iterdir()):
            return save(path, Index())  # the first time
        found = _recovered(blobs, layers_directory, now)
        facts = {"missing": str(path), "images": len(found.images), "hint": _AGAIN}
        log.error("the list of images was lost, it is made anew without names", extra=facts)
        return save(path, found)
    try:
        return msgspec.json.decode(raw, type=Index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        aside = path.with_suffix(".damaged")
        path.rename(aside)
        found = _recovered(blobs, layers_directory, now)
        facts = {"kept": str(aside), "why": str(error)[:300], "images": len(found.images), "hint": _AGAIN}
        log.error("the list of images is damaged, it is made anew without names", extra=facts)
        return save(path, found)


def _recovered(blobs: Path, layers_directory: Path, now: datetime) -> Index:
    index = Index()
    for blob in sorted(blobs.iterdir()):
        raw = blob.read_bytes()
        try:
            config = oci.decode(raw, oci.ImageConfig, f"the config {blob.name}")
        except Invalid:
            continue
        stack = _stack(config.rootfs.diff_ids, layers_directory)
        if oci.digest_of(raw) != f"sha256:{blob.name}" or stack is None:
            continue
        known = {key: _size(layers_directory / directory_name(key)) for key in stack}
        index = replace(index, layer_sizes={**index.layer_sizes, **known})
        index = added(index, _unnamed(raw, stack), now)
    return index


def _stack(diff_ids: tuple[str, ...], layers_directory: Path) -> tuple[str, ...] | None:
    """The keys of an image's layers; None if one is missing."""
    found: list[str] = []
    for both in keys(diff_ids):
        key = next((key for key in both if (layers_directory / directory_name(key)).is_dir()), None)
        if key is None:
            return None
        if is_opaque(layers_directory / directory_name(key)):
            found.clear()
        found.append(key)
    return tuple(found)


def _size(layer: Path) -> int:
    return sum(path.lstat().st_size for path in layer.rglob("*") if path.is_file() and not path.is_symlink())


def _unnamed(raw: bytes, stack: tuple[str, ...]) -> Stacked:
    return Stacked(
        image=ArchivedImage(id=oci.digest_of(raw), raw_config=raw, names=(), layers=()), stack=stack
    )
