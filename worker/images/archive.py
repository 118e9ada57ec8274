"""Read image archives: `docker save` tars and OCI layout tars, plain or gzip-compressed, every digest checked."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from msgspec import Struct

from swarmcore.errors import Invalid
from worker.images import oci
from worker.images.reference import DIGEST, Reference, parse_tagged

_JSON_LIMIT = 8 << 20
_OPENERS: tuple[tuple[bytes, Callable[[IO[bytes]], IO[bytes]]], ...] = (
    (b"\x1f\x8b", lambda raw: cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))),
    (b"BZh", lambda raw: cast(IO[bytes], bz2.BZ2File(raw, "rb"))),
    (b"\xfd7zXZ", lambda raw: cast(IO[bytes], lzma.LZMAFile(raw, "rb"))),  # noqa: SIM115
)
BROKEN = (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, UnicodeError)


class ArchivedLayer(Struct, frozen=True, kw_only=True):
    member: str
    diff_id: str


class ArchivedImage(Struct, frozen=True, kw_only=True):
    """An image in an archive: its config as bytes (the id is their digest), names and layers."""

    id: str
    raw_config: bytes
    config: oci.ImageConfig
    names: tuple[Reference, ...]
    manifest_digest: str
    layers: tuple[ArchivedLayer, ...]


def decompressed(raw: IO[bytes]) -> IO[bytes]:
    """A stream of the content, whatever common compression it has."""
    head = raw.read(6)
    raw.seek(-len(head), io.SEEK_CUR)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        raise Invalid("the archive is compressed with zstd, which is not supported", "compress it with gzip")
    for magic, opener in _OPENERS:
        if head.startswith(magic):
            return opener(raw)
    return raw


class HashingReader(io.RawIOBase):
    """Passes bytes on and keeps their SHA-256."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self._sum = source, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(size)
        self._sum.update(chunk)
        return chunk

    def digest(self) -> str:
        """Of the whole source: the rest is read first (a tar reader stops before the padding)."""
        while self.read(1 << 18):
            continue
        return f"sha256:{self._sum.hexdigest()}"


class Archive:
    """An opened image archive. `images()` checks everything but the layers; `layer()` streams one."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {m.name.removeprefix("./"): m for m in tar.getmembers()}

    def images(self) -> tuple[ArchivedImage, ...]:
        if "manifest.json" in self._members:
            return tuple(self._saved())
        if "index.json" in self._members:
            return tuple(self._laid_out())
        raise Invalid(
            "this is no image archive: it has neither manifest.json nor index.json",
            "make one with docker save or skopeo; a root file system is loaded with image import",
        )

    @contextmanager
    def layer(self, member: str) -> Iterator[HashingReader]:
        """The uncompressed tar of one layer."""
        with self._open(member) as raw, decompressed(raw) as plain:
            yield HashingReader(plain)

    # -- members -------------------------------------------------------------------------------------
    def _open(self, name: str) -> IO[bytes]:
        member = self._members.get(name.removeprefix("./"))
        if member is None:
            raise Invalid(f"the archive lacks {name}, which its manifest names")
        try:
            file = self._tar.extractfile(member)  # follows docker save's links between equal layers
        except KeyError:
            file = None
        if file is None:
            raise Invalid(f"{name} in the archive is no file")
        return file

    def _read(self, name: str) -> bytes:
        with self._open(name) as file:
            content = file.read(_JSON_LIMIT + 1)
        if len(content) > _JSON_LIMIT:
            raise Invalid(f"{name} in the archive is too large")
        return content

    def _blob(self, descriptor: oci.Descriptor, what: str) -> bytes:
        content = self._read(self._blob_name(descriptor.digest))
        if oci.digest_of(content) != descriptor.digest:
            raise Invalid(f"the {what} in the archive does not match its digest")
        return content

    @staticmethod
    def _blob_name(digest: str) -> str:
        if not DIGEST.fullmatch(digest):
            raise Invalid(f"the archive names the unsupported digest {digest!r}")
        return f"blobs/sha256/{digest.removeprefix('sha256:')}"

    # -- the two kinds -------------------------------------------------------------------------------
    def _image(
        self, raw: bytes, members: tuple[str, ...], names: tuple[Reference, ...], manifest: str
    ) -> ArchivedImage:
        config = oci.decode(raw, oci.ImageConfig, "the image's config")
        oci.check_config(config)
        ids = config.rootfs.diff_ids
        if any(not DIGEST.fullmatch(diff_id) for diff_id in ids) or len(ids) != len(members):
            raise Invalid("the image's config and its manifest disagree on the layers")
        layers = tuple(
            ArchivedLayer(member=member, diff_id=diff_id)
            for member, diff_id in zip(members, ids, strict=True)
        )
        return ArchivedImage(
            id=oci.digest_of(raw),
            raw_config=raw,
            config=config,
            names=names,
            manifest_digest=manifest,
            layers=layers,
        )

    def _saved(self) -> Iterator[ArchivedImage]:
        for entry in oci.decode(self._read("manifest.json"), tuple[oci.SavedImage, ...], "manifest.json"):
            names = tuple(parse_tagged(name) for name in entry.repo_tags or ())
            yield self._image(self._read(entry.config), entry.layers, names, "")

    def _laid_out(self) -> Iterator[ArchivedImage]:
        for entry in self._manifests(oci.decode(self._read("index.json"), oci.Index, "index.json"), depth=0):
            manifest = oci.decode(self._blob(entry, "manifest"), oci.Manifest, "the image's manifest")
            members = tuple(self._blob_name(layer.digest) for layer in manifest.layers)
            yield self._image(
                self._blob(manifest.config, "config"), members, self._names(entry), entry.digest
            )

    def _manifests(self, index: oci.Index, depth: int) -> Iterator[oci.Descriptor]:
        """The manifests for this machine; those of an index in an index carry the outer one's name."""
        if depth > 2:
            raise Invalid("the archive's indexes are nested too deep")
        for entry in index.manifests:
            if entry.media_type in oci.INDEX_TYPES:
                inner = oci.decode(self._blob(entry, "index"), oci.Index, "an image index")
                for found in self._manifests(inner, depth + 1):
                    annotations = {**entry.annotations, **found.annotations}
                    yield oci.Descriptor(digest=found.digest, annotations=annotations)
            elif entry.platform is None or (
                entry.platform.get("os") == "linux"
                and entry.platform.get("architecture") == oci.host_architecture()
            ):
                yield entry

    @staticmethod
    def _names(entry: oci.Descriptor) -> tuple[Reference, ...]:
        notes = entry.annotations
        for key in ("io.containerd.image.name", "org.opencontainers.image.ref.name"):
            # A bare tag ("latest") names no repository: the image is then known by its id.
            if "/" in (name := notes.get(key, "")) or ":" in name:
                return (parse_tagged(name),)
        return ()


@contextmanager
def opened(path: Path, scratch: Path) -> Iterator[Archive]:
    """The archive in `path`; a compressed one is unpacked to the file `scratch` first."""
    try:
        with path.open("rb") as raw, decompressed(raw) as plain:
            if plain is not raw:
                with scratch.open("wb") as out:
                    while chunk := plain.read(1 << 20):
                        out.write(chunk)
                path = scratch
        with tarfile.open(path, "r:") as tar:
            yield Archive(tar)
    except BROKEN as error:
        raise Invalid(f"this is no image archive: {error}") from None
