"""The images of this node: content-addressed configs and layers, changed whole or not at all.

`blobs/` holds configs by digest, `layers/` unpacked layers, `images.json` says what exists. Archives are read by a
process of its own. Everything new is made in `staging/` and renamed into place; what a crash left there, and layers
that no image names, are removed when the store is opened.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec
from msgspec.structs import replace

from swarmcore.aio import in_thread, to_the_end
from swarmcore.clock import utc_now
from swarmcore.errors import Invalid, NotFound
from swarmcore.files import remove_tree, write_atomically
from swarmcore.text.image_reference import parse, parse_tagged
from worker.images import index, oci, reading
from worker.images.index import Image, Index, Removal
from worker.images.keys import directory_name
from worker.images.limits import Limits, full
from worker.images.reader import Answer, Job

P = ParamSpec("P")
R = TypeVar("R")
_SHORTEST_PREFIX = 4
_EMPTY = "empty"  # what an image without layers stands on


class ImageStore:
    """Reads are plain calls; changes wait for the disk, one at a time. `await open()` first."""

    def __init__(
        self, directory: Path, limits: Limits | None = None, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._directory = directory
        #: What the times in it are of.
        self.now = now
        self._limits = limits or Limits()
        self.layers_directory = directory / "layers"
        self._blobs = directory / "blobs" / "sha256"
        self._staging = directory / "staging"
        self._index = Index()
        self._change = asyncio.Lock()
        self._holders: dict[str, str] = {}  # image id by holder

    async def open(self) -> None:
        async with self._change:
            self._index = await in_thread(self._open)

    def _open(self) -> Index:
        remove_tree(self._staging)
        for folder in (self.layers_directory, self.layers_directory / _EMPTY, self._blobs, self._staging):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.layers_directory / _EMPTY).chmod(0o755)
        found = index.load(self._directory / "images.json", self._blobs, self.layers_directory, self.now())
        self._collect(found)
        return found

    # -- reading -------------------------------------------------------------------------------------
    def list(self) -> tuple[Image, ...]:
        return self._index.images

    def get(self, text: str) -> Image:
        """By id, digest, name or unique id prefix, as Docker looks images up."""
        found = self._by_id(text) or self._by_name(text) or self._by_prefix(text)
        if found is None:
            raise NotFound(
                f"no such image: {text}",
                'load it on this node: "pyswarm image load -i FILE", or "pyswarm image import FILE NAME"',
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
        return tuple(map(directory_name, image.keys)) or (_EMPTY,)

    def _blob_path(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    # -- use by containers ---------------------------------------------------------------------------
    def find_and_hold(self, text: str, holder: str) -> Image:
        """`get` and `hold` in one: nobody removes it in between."""
        image = self.get(text)
        self.hold(image.id, holder)
        return image

    def hold(self, image_id: str, holder: str) -> None:
        """The image's layers stay while a container stands on them."""
        self._holders[holder] = image_id

    def release(self, holder: str) -> None:
        self._holders.pop(holder, None)

    # -- changes -------------------------------------------------------------------------------------
    # Whatever decides is done on the event loop in one go, so that `find_and_hold` sees an image whole or not at all;
    # whatever waits for the disk is done by a thread, and the lock is held until that has ended, cancelled or not.
    async def load(self, path: Path) -> tuple[Image, ...]:
        """Load a docker-save or OCI archive, all its images or none; each with the names that the archive gives it."""
        async with self._staged():
            answer = await reading.read(self._job(path))
            await to_the_end(self._commit(answer))
        brought: dict[str, set[str]] = {}
        for each in answer.images:
            brought.setdefault(each.image.id, set()).update(each.image.names)
        return tuple(
            replace(image, names=tuple(sorted(brought[image.id])))
            for image in self._index.images
            if image.id in brought
        )

    async def import_rootfs(
        self, path: Path, name: str | None = None, run: oci.RunConfig | None = None, comment: str = ""
    ) -> Image:
        """Make an image of one layer from the tar of a root file system."""
        reference = parse_tagged(name) if name else None
        async with self._staged():
            answer = await reading.read(self._job(path, rootfs=True))
            found = answer.images[0]
            (layer,) = found.image.layers
            raw = _config(
                layer.diff_id, run or oci.RunConfig(), comment or f"imported from {path.name}", self.now()
            )
            made = replace(
                found.image,
                id=oci.digest_of(raw),
                raw_config=raw,
                names=(str(reference),) if reference else (),
            )
            await to_the_end(self._commit(replace(answer, images=(replace(found, image=made),))))
        return self.get(made.id)

    async def tag(self, source: str, name: str) -> Image:
        reference = parse_tagged(name)
        async with self._change:
            image = self.get(source)
            await to_the_end(self._switch(index.named(self._index, image.id, str(reference))))
        return self.get(image.id)

    async def remove(self, text: str, *, force: bool = False) -> Removal:
        """Take a name away; with the last name (or by id) the image goes too, unless containers use it."""
        async with self._change:
            image = self.get(text)
            by_name = self._by_id(text) is None and self._by_name(text) is not None
            name = str(parse(text).with_default_tag()) if by_name and "@" not in text else ""
            holders = sum(1 for held in self._holders.values() if held == image.id)
            left, removal = index.without(self._index, image, text, name, holders, force=force)
            await to_the_end(self._switch(left, collect=True))
            return removal

    def _job(self, path: Path, *, rootfs: bool = False) -> Job:
        return Job(
            path=str(path),
            staging=str(self._staging),
            layers=str(self.layers_directory),
            known=tuple(self._index.layer_sizes),
            rootfs=rootfs,
            limits=self._limits,
        )

    @asynccontextmanager
    async def _staged(self) -> AsyncIterator[None]:
        """Alone with the staging directory, which is empty again afterwards."""
        async with self._change:
            try:
                yield
            finally:
                await in_thread(self._empty_staging)

    def _empty_staging(self) -> None:
        for left in self._staging.iterdir():
            remove_tree(left) if left.is_dir() else left.unlink()

    async def _commit(self, answer: Answer) -> None:
        """Make what was staged the store's own."""
        sizes = {**self._index.layer_sizes, **{key: made.size for key, made in answer.staged.items()}}
        changed = replace(self._index, layer_sizes=sizes)
        for each in answer.images:
            changed = index.added(changed, each, self.now())
        try:
            await self._on_disk(self._put, answer)
            await self._switch(changed)
        except BaseException:
            await self._on_disk(self._collect, self._index)
            raise

    def _put(self, answer: Answer) -> None:
        for key, made in answer.staged.items():
            target = self.layers_directory / directory_name(key)
            remove_tree(target)  # an image that was removed while the layer was busy left it
            (self._staging / made.directory).rename(target)
        for each in answer.images:
            write_atomically(self._blob_path(each.image.id), each.image.raw_config, durable=False)

    async def _switch(self, changed: Index, *, collect: bool = False) -> None:
        """What goes, goes from the list before it goes from the disk: whoever holds an image has it whole."""
        before, self._index = self._index, changed
        try:
            self._index = await self._on_disk(index.save, self._directory / "images.json", changed)
        except BaseException:
            self._index = before
            raise
        if collect:
            await self._on_disk(self._collect, changed)

    async def _on_disk(self, change: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await in_thread(change, *args, **kwargs)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise full(self._directory) from None
            raise

    def _collect(self, kept: Index) -> None:
        """Remove layers and configs that no image names."""
        folders = {directory_name(key) for key in kept.used()}
        for folder in self.layers_directory.iterdir():
            if folder.name not in folders and folder.name != _EMPTY:
                with suppress(OSError):  # busy or damaged: the next opening tries again
                    remove_tree(folder)
        blobs = {image.id.removeprefix("sha256:") for image in kept.images}
        for blob in self._blobs.iterdir():
            if blob.name not in blobs:
                blob.unlink(missing_ok=True)


def _config(diff_id: str, run: oci.RunConfig, comment: str, now: datetime) -> bytes:
    """Of an imported root file system."""
    return msgspec.json.encode(
        oci.ImageConfig(
            architecture=oci.host_architecture(),
            os="linux",
            created=now,
            config=run,
            rootfs=oci.RootFs(diff_ids=(diff_id,)),
            history=({"created": now.isoformat(), "comment": comment},),
        )
    )
