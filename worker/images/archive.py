"""Read image archives: `docker save` tars and OCI layout tars, whatever compression they have, every digest checked."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from msgspec import Struct

from swarmcore.errors import Invalid
from swarmcore.text.image_reference import DIGEST, parse_tagged
from worker.images import oci
from worker.images.compression import BROKEN, HashingReader, decompressed
from worker.images.limits import Budget
from worker.images.tarstream import Damaged, Kind, TarStream

_JSON_LIMIT = 4 << 20
_CHUNK = 1 << 20
_MOST_LINKS = 40
_DEEPEST = 3  # indexes in indexes
_MOST_ENTRIES = 10_000  # of all indexes


class ArchivedLayer(Struct, frozen=True, kw_only=True):
    member: str
    diff_id: str


class ArchivedImage(Struct, frozen=True, kw_only=True):
    """An image in an archive: its config as bytes (the id is their digest), names and layers.

    `digests` are those of its manifest and of the index that it came by.
    """

    id: str
    raw_config: bytes
    names: tuple[str, ...]
    digests: tuple[str, ...] = ()
    layers: tuple[ArchivedLayer, ...]


class _Entry(Struct, frozen=True, kw_only=True):
    kind: Kind | None
    offset: int
    size: int
    link: str


class _Candidate(Struct, frozen=True, kw_only=True):
    """A manifest that may be the image for this machine; of those in one index one is taken."""

    descriptor: oci.Descriptor
    digests: tuple[str, ...]
    name: str


class _Slice(io.RawIOBase):
    """A part of a file."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._start + self._position)
        found = self._file.read(max(0, min(len(buffer), self._size - self._position)))
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)


class Archive:
    """An opened image archive. `images()` checks everything but the layers; `layer()` streams one."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        self._file = file
        self._members: dict[str, _Entry] = {}
        stream = TarStream(file)
        while (member := stream.next()) is not None:
            budget.entry()
            self._members[_normal(member.name)] = _Entry(
                kind=member.kind if member.pieces is None else None,
                offset=stream.position,
                size=member.size,
                link=member.link,
            )

    def images(self) -> tuple[ArchivedImage, ...]:
        if "manifest.json" in self._members:
            return tuple(self._saved())
        if "index.json" in self._members:
            return self._laid_out()
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
        entry = self._members.get(place := _normal(name))
        for _ in range(_MOST_LINKS):  # docker save links equal layers
            if entry is None:
                raise Invalid(f"the archive lacks {name[:200]}, which its manifest names")
            if entry.kind is Kind.FILE:
                return io.BufferedReader(_Slice(self._file, entry.offset, entry.size), _CHUNK)
            if entry.kind is Kind.SYMLINK:
                beside = _normal(posixpath.join(posixpath.dirname(place), entry.link))
                # From the link's directory; of an absolute one, or where that leads nowhere, from the archive's root.
                place = beside if beside in self._members else _normal(entry.link)
            elif entry.kind is Kind.HARD_LINK:
                place = _normal(entry.link)
            else:
                break
            entry = self._members.get(place)
        raise Invalid(f"{name[:200]} in the archive is no file")

    def _read(self, name: str) -> bytes:
        with self._open(name) as file:
            content = file.read(_JSON_LIMIT + 1)
        if len(content) > _JSON_LIMIT:
            raise Invalid(f"{name[:200]} in the archive is too large")
        return content

    def _blob(self, descriptor: oci.Descriptor, what: str) -> bytes:
        content = self._read(_blob_name(descriptor.digest))
        if oci.digest_of(content) != descriptor.digest:
            raise Invalid(f"the {what} in the archive does not match its digest")
        return content

    def _has(self, descriptor: oci.Descriptor) -> bool:
        return _blob_name(descriptor.digest) in self._members

    # -- the two kinds -------------------------------------------------------------------------------
    def _saved(self) -> Iterator[ArchivedImage]:
        for entry in oci.decode(self._read("manifest.json"), tuple[oci.SavedImage, ...], "manifest.json"):
            names = tuple(str(parse_tagged(name)) for name in entry.repo_tags)
            raw = self._read(entry.config)
            config = oci.decode(raw, oci.ImageConfig, "the image's config")
            yield _image(raw, config, entry.layers, names)

    def _laid_out(self) -> tuple[ArchivedImage, ...]:
        """Of each name the image for this machine; what is no image, or for others, is passed over."""
        index = oci.decode(self._read("index.json"), oci.Index, "index.json")
        found: list[ArchivedImage] = []
        others: set[str] = set()
        for candidates in self._groups(index):
            fitting: list[tuple[int, ArchivedImage]] = []
            for candidate in candidates:
                made = self._made(candidate, others, alone=len(candidates) == 1)
                fitting += [made] if made is not None else []
            if fitting:
                found.append(min(fitting, key=lambda ranked: ranked[0])[1])
        if not found:
            here = f"linux/{oci.host_architecture()}"
            there = f": it has {', '.join(sorted(others)[:5])}" if others else ""
            raise Invalid(f"the archive holds no image for this machine ({here}){there}")
        return tuple(found)

    def _groups(self, index: oci.Index) -> list[list[_Candidate]]:
        groups: dict[str, list[_Candidate]] = {}
        for entry in index.manifests:
            name = _name(entry)
            key = name or entry.digest
            groups.setdefault(key, []).extend(self._candidates(entry, (), name, 0))
            if sum(map(len, groups.values())) > _MOST_ENTRIES:
                raise Invalid(f"the archive's indexes have more than {_MOST_ENTRIES} entries")
        return list(groups.values())

    def _candidates(
        self, entry: oci.Descriptor, above: tuple[str, ...], name: str, depth: int
    ) -> Iterator[_Candidate]:
        if entry.media_type in oci.INDEX_TYPES:
            if depth == _DEEPEST:
                raise Invalid("the archive's indexes are nested too deep")
            inner = oci.decode(self._blob(entry, "index"), oci.Index, "an image index")
            for each in inner.manifests:
                yield from self._candidates(each, (*above, entry.digest), name or _name(each), depth + 1)
        elif not entry.is_other:
            yield _Candidate(descriptor=entry, digests=(*above, entry.digest), name=name)

    def _made(
        self, candidate: _Candidate, others: set[str], *, alone: bool
    ) -> tuple[int, ArchivedImage] | None:
        """The image with its rank; None if it is for another machine, not in the archive, or no image."""
        entry = candidate.descriptor
        if entry.platform is not None and oci.rank(entry.platform) is None:
            others.add(str(entry.platform)[:40])
            return None
        if not alone and not self._has(entry):
            return None
        manifest = oci.decode(self._blob(entry, "manifest"), oci.Manifest, "the image's manifest")
        if manifest.is_other:
            return None
        raw = self._blob(manifest.config, "config")
        try:
            config = oci.decode(raw, oci.ImageConfig, "the image's config")
        except Invalid:
            if manifest.config.media_type in oci.CONFIG_TYPES:
                raise
            return None
        ranked = oci.rank(entry.platform or config.platform)
        if ranked is None:
            others.add(str(config.platform)[:40])
            return None
        members = tuple(_blob_name(layer.digest) for layer in manifest.layers)
        names = (candidate.name,) if candidate.name else ()
        return ranked, _image(raw, config, members, names, candidate.digests)


def _normal(name: str) -> str:
    return posixpath.normpath(f"/{name}").lstrip("/")


def _blob_name(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise Invalid(f"the archive names the unsupported digest {digest[:100]!r}")
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _name(entry: oci.Descriptor) -> str:
    """What it is called; a bare tag ("latest") names no repository: the image is then known by its id."""
    for key in ("io.containerd.image.name", "org.opencontainers.image.ref.name"):
        if "/" in (name := entry.annotations.get(key, "")) or ":" in name:
            try:
                return str(parse_tagged(name))
            except Invalid:
                continue
    return ""


def _image(
    raw: bytes,
    config: oci.ImageConfig,
    members: tuple[str, ...],
    names: tuple[str, ...],
    digests: tuple[str, ...] = (),
) -> ArchivedImage:
    oci.check_config(config)
    ids = config.rootfs.diff_ids
    if any(not DIGEST.fullmatch(diff_id) for diff_id in ids) or len(ids) != len(members):
        raise Invalid("the image's config and its manifest disagree on the layers")
    layers = tuple(
        ArchivedLayer(member=member, diff_id=diff_id) for member, diff_id in zip(members, ids, strict=True)
    )
    return ArchivedImage(id=oci.digest_of(raw), raw_config=raw, names=names, digests=digests, layers=layers)


def _indexed(file: IO[bytes], budget: Budget) -> Archive:
    try:
        return Archive(file, budget)
    except Damaged as error:
        raise Invalid(f"this is no image archive: {error}") from None


@contextmanager
def opened(path: Path, scratch: Path, budget: Budget) -> Iterator[Archive]:
    """The archive in `path`; a compressed one is unpacked to the file `scratch` first."""
    try:
        with path.open("rb") as raw, decompressed(raw) as plain:
            if plain is raw:
                yield _indexed(raw, budget)
                return
            with scratch.open("wb+") as out:
                while chunk := plain.read(_CHUNK):
                    budget.write(len(chunk))
                    out.write(chunk)
                out.seek(0)
                yield _indexed(out, budget)
    except BROKEN as error:
        raise Invalid(f"this is no image archive: {error}") from None
