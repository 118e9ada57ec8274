"""The images of this node: content-addressed configs and layers, changed whole or not at all.

`blobs/` holds configs by digest, `layers/` unpacked layers by the digest of their tar, `images.json`
says what exists. Everything new is made in `staging/` and renamed into place; what a crash left
there, and layers that no image names, are removed when the store is opened.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from swarmcore.errors import Conflict, Invalid, NotFound, SwarmError
from worker.files import remove_tree, write_atomically
from worker.images import archive, layers, oci
from worker.images.reference import Reference, parse, parse_tagged

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
_SHORTEST_PREFIX = 4


class DiskFull(SwarmError):
    hint = "free some space; pyswarm image rm removes images that are not used"


class Image(Struct, frozen=True, kw_only=True):
    """An image that is here: `id` is the digest of its config."""

    id: str
    names: tuple[str, ...] = ()  # full text with tag, short form
    digests: tuple[str, ...] = ()  # name@digest of manifests it came by
    layers: tuple[str, ...]
    created: datetime | None = None
    loaded: datetime
    size: int


class _Index(Struct, frozen=True, kw_only=True):
    images: tuple[Image, ...] = ()
    layer_sizes: dict[str, int] = {}


class Removal(Struct, frozen=True, kw_only=True):
    """What `remove` did, in Docker's words."""

    untagged: tuple[str, ...]
    deleted: tuple[str, ...]


class ImageStore:
    """Reads are plain calls; changes run in a thread, one at a time. `await open()` first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.layers_directory = directory / "layers"
        self._blobs = directory / "blobs" / "sha256"
        self._staging = directory / "staging"
        self._index = _Index()
        self._change = asyncio.Lock()
        self._holders: dict[str, set[str]] = {}

    async def open(self) -> None:
        async with self._change:
            self._index = await asyncio.to_thread(self._open)

    def _open(self) -> _Index:
        remove_tree(self._staging)
        for folder in (self.layers_directory, self._blobs, self._staging):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / "images.json"
        try:
            index = msgspec.json.decode(path.read_bytes(), type=_Index)
        except FileNotFoundError:
            index = _Index()
        except msgspec.DecodeError as error:
            raise SwarmError(
                f"the image index {path} is damaged: {error}", "remove it and load the images again"
            ) from None
        self._collect(index)
        return index

    # -- reading -------------------------------------------------------------------------------------
    def list(self) -> tuple[Image, ...]:
        return self._index.images

    def get(self, text: str) -> Image:
        """By id, digest, name or unique id prefix, as Docker looks images up."""
        found = self._by_id(text) or self._by_name(text) or self._by_prefix(text)
        if found is None:
            raise NotFound(
                f"no such image: {text}", "load it on this node: pyswarm image load -i FILE (or image import)"
            )
        return found

    def _by_id(self, text: str) -> Image | None:
        wanted = text if text.startswith("sha256:") else f"sha256:{text}"
        return next((image for image in self._index.images if image.id == wanted), None)

    def _by_name(self, text: str) -> Image | None:
        try:
            reference = parse(text).with_default_tag()
        except Invalid:
            return None
        if reference.digest:
            # The digest decides; the tag beside it only says where it came from.
            pinned = f"{reference.familiar_name}@{reference.digest}"
            by_manifest = next((i for i in self._index.images if pinned in i.digests), None)
            return by_manifest or self._by_id(reference.digest)
        return next((image for image in self._index.images if str(reference) in image.names), None)

    def _by_prefix(self, text: str) -> Image | None:
        prefix = text.removeprefix("sha256:")
        if len(prefix) < _SHORTEST_PREFIX or not set(prefix) <= set("0123456789abcdef"):
            return None
        found = [image for image in self._index.images if image.id.startswith(f"sha256:{prefix}")]
        if len(found) > 1:
            raise Invalid(f"the image id {text} is ambiguous: {len(found)} images begin so")
        return found[0] if found else None

    def raw_config(self, image: Image) -> bytes:
        return self._blob_path(image.id).read_bytes()

    def config(self, image: Image) -> oci.ImageConfig:
        return oci.decode(self.raw_config(image), oci.ImageConfig, f"the config of image {image.id}")

    def layer_names(self, image: Image) -> tuple[str, ...]:
        """Directories below `layers_directory`, from the lowest up."""
        return tuple(layers.directory_name(diff_id) for diff_id in image.layers)

    def _blob_path(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    # -- use by containers ---------------------------------------------------------------------------
    def hold(self, image_id: str, holder: str) -> None:
        """The image's layers stay while a container stands on them."""
        self._holders.setdefault(image_id, set()).add(holder)

    def release(self, image_id: str, holder: str) -> None:
        holders = self._holders.get(image_id, set())
        holders.discard(holder)
        if not holders:
            self._holders.pop(image_id, None)

    # -- changes -------------------------------------------------------------------------------------
    async def load(self, path: Path) -> tuple[Image, ...]:
        """Load a docker-save or OCI archive; all its images or none."""
        return await self._changing(self._load, path)

    async def import_rootfs(
        self, path: Path, name: str | None = None, run: oci.RunConfig | None = None, comment: str = ""
    ) -> Image:
        """Make an image of one layer from the tar of a root file system."""
        reference = parse_tagged(name) if name else None
        return await self._changing(self._import, path, reference, run or oci.RunConfig(), comment)

    async def tag(self, source: str, name: str) -> Image:
        return await self._changing(self._tag, source, parse_tagged(name))

    async def remove(self, text: str, *, force: bool = False) -> Removal:
        """Take a name away; with the last name (or by id) the image goes too, unless containers use it."""
        return await self._changing(self._remove, text, force)

    async def _changing(self, change: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        async with self._change:
            # A caller that gives up does not free the lock: the thread goes on to its end.
            return await asyncio.shield(asyncio.to_thread(self._guarded, partial(change, *args, **kwargs)))

    def _guarded(self, change: Callable[[], R]) -> R:
        try:
            return change()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(
                    f"no space left on the disk of {self._directory}; nothing was changed"
                ) from None
            if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
                raise Invalid(f"cannot read {error.filename}: {error.strerror}") from None
            raise
        finally:
            for left in self._staging.iterdir():
                remove_tree(left) if left.is_dir() else left.unlink()

    def _load(self, path: Path) -> tuple[Image, ...]:
        with archive.opened(path, self._staging / "archive.tar") as opened:
            found = opened.images()
            if not found:
                raise Invalid("the archive holds no image for this machine's architecture")
            staged: dict[str, tuple[Path, int]] = {}
            for image in found:
                for layer in image.layers:
                    if layer.diff_id not in staged and not self._has(layer.diff_id):
                        with opened.layer(layer.member) as stream:
                            staged[layer.diff_id] = self._stage(stream, layer.diff_id)
        return self._commit(found, staged)

    def _has(self, diff_id: str) -> bool:
        return diff_id in self._index.layer_sizes

    def _stage(self, stream: archive.HashingReader, expected: str | None) -> tuple[Path, int]:
        target = self._staging / secrets.token_hex(8)
        target.mkdir(mode=0o755)
        try:
            size = layers.unpack(stream, target)  # type: ignore[arg-type]  # it only reads
            digest = stream.digest()
        except archive.BROKEN as error:
            raise Invalid(f"a layer is damaged: {error}") from None
        if expected is not None and digest != expected:
            raise Invalid(f"a layer does not match its digest {expected[:19]}…: the archive is damaged")
        return target, size

    def _import(self, path: Path, reference: Reference | None, run: oci.RunConfig, comment: str) -> Image:
        try:
            with path.open("rb") as raw, archive.decompressed(raw) as plain:
                stream = archive.HashingReader(plain)
                target, size = self._stage(stream, None)
                diff_id = stream.digest()
        except archive.BROKEN as error:
            raise Invalid(f"this is no root file system archive: {error}") from None
        if not any(target.iterdir()):
            raise Invalid("the root file system archive is empty")
        now = datetime.now(UTC)
        config = oci.ImageConfig(
            architecture=oci.host_architecture(),
            os="linux",
            created=now,
            config=run,
            rootfs=oci.RootFs(diff_ids=(diff_id,)),
            history=({"created": now.isoformat(), "comment": comment or f"imported from {path.name}"},),
        )
        raw_config = msgspec.json.encode(config)
        made = archive.ArchivedImage(
            id=oci.digest_of(raw_config),
            raw_config=raw_config,
            config=config,
            names=(reference,) if reference else (),
            manifest_digest="",
            layers=(archive.ArchivedLayer(member="", diff_id=diff_id),),
        )
        return self._commit((made,), {} if self._has(diff_id) else {diff_id: (target, size)})[0]

    def _commit(
        self, found: Iterable[archive.ArchivedImage], staged: dict[str, tuple[Path, int]]
    ) -> tuple[Image, ...]:
        sizes = {**self._index.layer_sizes, **{diff_id: size for diff_id, (_, size) in staged.items()}}
        index = replace(self._index, layer_sizes=sizes)
        new: list[str] = []
        try:
            for diff_id, (source, _) in staged.items():
                target = self.layers_directory / layers.directory_name(diff_id)
                remove_tree(target)  # an image that was removed while the layer was busy left it
                source.rename(target)
            for image in found:
                write_atomically(self._blob_path(image.id), image.raw_config, mode=0o600)
                index = self._added(index, image)
                new.append(image.id)
            self._save(index)
        except BaseException:
            self._collect(self._index)
            raise
        return tuple(image for image in self._index.images if image.id in new)

    @staticmethod
    def _added(index: _Index, image: archive.ArchivedImage) -> _Index:
        old = next((known for known in index.images if known.id == image.id), None)
        names = tuple(str(reference) for reference in image.names)
        digests = tuple(
            f"{reference.familiar_name}@{image.manifest_digest}"
            for reference in image.names
            if image.manifest_digest
        )
        entry = Image(
            id=image.id,
            names=tuple(sorted({*(old.names if old else ()), *names})),
            digests=tuple(sorted({*(old.digests if old else ()), *digests})),
            layers=image.config.rootfs.diff_ids,
            created=image.config.created,
            loaded=old.loaded if old else datetime.now(UTC),
            size=sum(index.layer_sizes[diff_id] for diff_id in image.config.rootfs.diff_ids),
        )
        # A name has one image: the newest that was given it.
        others = tuple(
            replace(known, names=tuple(name for name in known.names if name not in names))
            for known in index.images
            if known.id != image.id
        )
        return replace(index, images=(*others, entry))

    def _tag(self, source: str, reference: Reference) -> Image:
        wanted, name = self.get(source), str(reference)
        images = tuple(
            replace(image, names=tuple(sorted({*image.names, name})))
            if image.id == wanted.id
            else replace(image, names=tuple(n for n in image.names if n != name))
            for image in self._index.images
        )
        self._save(replace(self._index, images=images))
        return self.get(wanted.id)

    def _remove(self, text: str, force: bool) -> Removal:
        image = self.get(text)
        by_name = self._by_id(text) is None and self._by_name(text) is not None
        gone: tuple[str, ...]
        if by_name and "@" not in text:
            gone = (str(parse(text).with_default_tag()),)
        elif len(image.names) > 1 and not force:
            raise Conflict(
                f"image {text} has several names: {', '.join(image.names)}", "use force to remove all"
            )
        else:
            gone = image.names
        left = tuple(name for name in image.names if name not in gone)
        if not left and (holders := self._holders.get(image.id)):
            raise Conflict(
                f"image {text} is used by {len(holders)} container(s) on this node",
                "remove their services first",
            )
        others = tuple(known for known in self._index.images if known.id != image.id)
        self._save(replace(self._index, images=(*others, replace(image, names=left)) if left else others))
        self._collect(self._index)
        return Removal(untagged=gone, deleted=() if left else (image.id,))

    # -- disk ----------------------------------------------------------------------------------------
    def _save(self, index: _Index) -> None:
        used = {diff_id for image in index.images for diff_id in image.layers}
        sizes = {diff_id: size for diff_id, size in index.layer_sizes.items() if diff_id in used}
        index = replace(index, layer_sizes=sizes)
        content = json.dumps(msgspec.to_builtins(index), indent=1).encode()
        write_atomically(self._directory / "images.json", content, durable=True)
        self._index = index

    def _collect(self, index: _Index) -> None:
        """Remove layers and configs that no image names."""
        kept = {layers.directory_name(diff_id) for image in index.images for diff_id in image.layers}
        for folder in self.layers_directory.iterdir():
            if folder.name not in kept:
                with suppress(OSError):  # busy or damaged: the next opening tries again
                    remove_tree(folder)
        blobs = {image.id.removeprefix("sha256:") for image in index.images}
        for blob in self._blobs.iterdir():
            if blob.name not in blobs:
                blob.unlink(missing_ok=True)
