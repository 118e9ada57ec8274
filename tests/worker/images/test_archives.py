"""Which images an archive holds: what Docker and containerd find in it, whoever wrote it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from swarmcore.errors import Invalid
from tests.worker.images.archives import config, digest, folder, link, member, oci_layout, saved, tar, written
from worker.images.compression import zstd_module
from worker.images.oci import host_architecture
from worker.images.store import ImageStore

pytestmark = pytest.mark.root

BASE = tar(folder("bin"), member("bin/sh", b"shell"))
TOP = tar(member("app", b"application"))
OCI = "application/vnd.oci.image"


@pytest.fixture
async def store(tmp_path: Path) -> ImageStore:
    made = ImageStore(tmp_path / "images")
    await made.open()
    return made


class Layout:
    """An OCI layout that is put together piece by piece."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.entries: list[dict[str, Any]] = []

    def blob(self, content: bytes | dict[str, Any]) -> str:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.blobs[digest(raw)] = raw
        return digest(raw)

    def image(self, *layers: bytes, media_type: str = f"{OCI}.config.v1+json", **changes: Any) -> str:
        """The digest of a manifest."""
        return self.manifest(
            {"mediaType": media_type, "digest": self.blob(config(layers, **changes))},
            [{"digest": self.blob(layer)} for layer in layers],
        )

    def manifest(self, config: dict[str, Any], layers: list[dict[str, Any]], **more: Any) -> str:
        return self.blob({"schemaVersion": 2, "config": config, "layers": layers, **more})

    def add(self, digest: str, name: str = "", **more: Any) -> Layout:
        annotations = {"io.containerd.image.name": name} if name else {}
        entry = {"mediaType": f"{OCI}.manifest.v1+json", "digest": digest, "annotations": annotations}
        self.entries.append({**entry, **more})
        return self

    def index(self, *entries: dict[str, Any]) -> str:
        return self.blob({"schemaVersion": 2, "manifests": list(entries)})

    def packed(self) -> bytes:
        index = {"schemaVersion": 2, "manifests": self.entries}
        return tar(
            member("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
            member("index.json", json.dumps(index).encode()),
            *(member(f"blobs/sha256/{key[7:]}", blob) for key, blob in self.blobs.items()),
        )


def platform(architecture: str, os: str = "linux", **more: str) -> dict[str, str]:
    return {"os": os, "architecture": architecture, **more}


async def loaded(store: ImageStore, tmp_path: Path, raw: bytes) -> list[tuple[str, ...]]:
    return [image.names for image in await store.load(written(tmp_path / "a.tar", raw))]


# -- entries that are no image, or none for this machine --------------------------------------------------
def _others() -> dict[str, Callable[[Layout], object]]:
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}")}

    def artifact(layout: Layout, **more: Any) -> str:
        layout.blob(b"{}")
        return layout.manifest(empty, [], **more)

    return {
        "an attestation": lambda made: made.add(artifact(made), platform=platform("unknown", "unknown")),
        "an attestation by annotation": lambda made: made.add(
            artifact(made), annotations={"vnd.docker.reference.type": "attestation-manifest"}
        ),
        "an artifact": lambda made: made.add(artifact(made, artifactType="application/x")),
        "an artifact by descriptor": lambda made: made.add(artifact(made), artifactType="application/x"),
        "a config of another kind": lambda made: made.add(made.image(BASE, media_type="helm", rootfs=3)),
        "a blob of another type": lambda made: made.add(made.blob(b"text"), mediaType="text/plain"),
        "another machine's": lambda made: made.add(made.image(BASE), platform=platform("s390x")),
        "another machine's, by its config": lambda made: made.add(made.image(BASE, architecture="s390x")),
        "another system's": lambda made: made.add(made.image(BASE, os="windows")),
        "another machine's, not in here": lambda made: made.add("sha256:" + "0" * 64, platform=platform("s390x")),
    }  # fmt: skip


@pytest.mark.parametrize("other", _others().values(), ids=_others().keys())
async def test_entries_that_are_no_image_for_this_machine_are_passed_over(
    store: ImageStore, tmp_path: Path, other: Callable[[Layout], object]
) -> None:
    layout = Layout()
    other(layout)
    layout.add(layout.image(TOP), "app:1")
    assert await loaded(store, tmp_path, layout.packed()) == [("app:1",)]


async def test_an_archive_for_others_only_says_for_whom(store: ImageStore, tmp_path: Path) -> None:
    layout = Layout()
    layout.add(layout.image(TOP), platform=platform("arm", variant="v5")).add(layout.image(BASE, os="plan9"))
    with pytest.raises(Invalid, match=f"no image for this machine .linux/{host_architecture()}.: it has "):
        await loaded(store, tmp_path, layout.packed())


async def test_a_missing_platform_is_that_of_the_config(store: ImageStore, tmp_path: Path) -> None:
    layout = Layout()
    inner = layout.index({"digest": layout.image(BASE, architecture="s390x")}, {"digest": layout.image(TOP)})
    layout.add(inner, "app:1", mediaType=f"{OCI}.index.v1+json")
    assert await loaded(store, tmp_path, layout.packed()) == [("app:1",)]
    assert store.get("app:1").layers == (digest(TOP),)


async def test_of_several_that_fit_the_best_variant_is_taken(store: ImageStore, tmp_path: Path) -> None:
    layout = Layout()
    entries = [
        {"digest": layout.image(BASE), "platform": platform(host_architecture(), variant="v99")},
        {"digest": layout.image(TOP), "platform": platform(host_architecture())},
        {"digest": "sha256:" + "0" * 64, "platform": platform(host_architecture())},  # not in the archive
    ]
    layout.add(layout.index(*entries), "app:1", mediaType=f"{OCI}.index.v1+json")
    await loaded(store, tmp_path, layout.packed())
    assert store.get("app:1").layers == (digest(TOP),)


# -- names -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("annotations", "names"),
    [
        ({"org.opencontainers.image.ref.name": "app:2"}, ("app:2",)),
        ({"org.opencontainers.image.ref.name": "latest"}, ()),
        ({"org.opencontainers.image.ref.name": "Not A: Name"}, ()),
        ({"io.containerd.image.name": "docker.io/library/app:2", "org.opencontainers.image.ref.name": "2"}, ("app:2",)),
        (None, ()),
    ],
    ids=["a reference", "a tag", "no name", "containerd's", "null"],
)  # fmt: skip
async def test_names_are_taken_from_annotations(
    store: ImageStore, tmp_path: Path, annotations: dict[str, str] | None, names: tuple[str, ...]
) -> None:
    layout = Layout()
    layout.add(layout.image(TOP), annotations=annotations)
    assert await loaded(store, tmp_path, layout.packed()) == [names]


async def test_only_names_of_this_archive_are_told(store: ImageStore, tmp_path: Path) -> None:
    assert await loaded(store, tmp_path, saved([BASE], ["app:1"])) == [("app:1",)]
    assert await loaded(store, tmp_path, saved([BASE], ["app:2"])) == [("app:2",)]
    assert await loaded(store, tmp_path, saved([BASE], [])) == [()]
    assert store.get("app:1").names == ("app:1", "app:2")


# -- configs ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": None, "os": None},
        {"config": None},
        {"config": {"Cmd": "word", "Env": None, "Labels": None, "Volumes": None, "ExposedPorts": None}},
        {"created": "0001-01-01T00:00:00Z", "history": None},
        {"unknown": {"deep": [1, 2.5, 10**40]}, "docker_version": ""},
        {"created": "2024-01-01T00:00:00.123456789+14:00", "author": None},
    ],
    ids=["no platform", "no config", "nulls", "no time", "unknown fields", "nanoseconds"],
)
async def test_configs_are_read_as_go_reads_them(
    store: ImageStore, tmp_path: Path, changes: dict[str, Any]
) -> None:
    await loaded(store, tmp_path, saved([BASE], ["app"], raw_config=config([BASE], **changes)))
    store.config(store.get("app"))


@pytest.mark.parametrize(
    "raw",
    [
        config([BASE], created="yesterday"),
        config([BASE], created="0001-01-01T00:00:00+14:00"),
        config([BASE], created="2024-01-01T00:00:00"),
        config([BASE], created=10**400),
        config([BASE], rootfs={"type": "layers", "diff_ids": ["sha256:" + "é" * 64]}),
        config([BASE], rootfs={"type": "windows", "diff_ids": [digest(BASE)]}),
        config([BASE], rootfs=None),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{}",
        b'{"os": "linux"',
        b"1" * 100_000,
    ],
    ids=["time", "before all", "zone", "number", "digest", "kind", "none", "deep", "deeper", "bytes", "cut", "long"],
)  # fmt: skip
async def test_malformed_configs_are_refused_in_one_line(
    store: ImageStore, tmp_path: Path, raw: bytes
) -> None:
    with pytest.raises(Invalid) as failure:
        await loaded(store, tmp_path, saved([BASE], ["app"], raw_config=raw))
    assert len(str(failure.value)) < 500 and "\n" not in str(failure.value)


# -- where layers lie, and how they are packed -----------------------------------------------------------
def _with_layer(*members: Any, name: str = "l/layer.tar") -> bytes:
    manifest = [{"Config": "c.json", "RepoTags": ["app"], "Layers": [name]}]
    return tar(
        member("c.json", config([BASE])), *members, member("manifest.json", json.dumps(manifest).encode())
    )


@pytest.mark.parametrize(
    "raw",
    [
        _with_layer(member("x/y", BASE), link("l/layer.tar", "../x/y")),
        _with_layer(member("x/y", BASE), link("l/layer.tar", "/x/y")),
        _with_layer(member("x/y", BASE), link("l/layer.tar", "x/y")),
        _with_layer(member("x/y", BASE), link("l/layer.tar", "x/y", hard=True)),
        _with_layer(member("x/y", BASE), link("m", "x/y"), link("l/layer.tar", "../m")),
        _with_layer(member("./l/layer.tar", BASE)),
        _with_layer(member("l/layer.tar", BASE), name="./l//layer.tar"),
        _with_layer(member("l/layer.tar", b"old"), member("l/layer.tar", BASE)),
        _with_layer(member("l/layer.tar", gzip.compress(BASE))),
    ],
    ids=["beside", "from the root", "from the root, relative", "hard", "twice", "dot", "slashes", "again", "packed"],
)  # fmt: skip
async def test_layers_are_found_where_docker_finds_them(
    store: ImageStore, tmp_path: Path, raw: bytes
) -> None:
    assert await loaded(store, tmp_path, raw) == [("app:latest",)]


@pytest.mark.parametrize(
    "raw",
    [
        _with_layer(link("l/layer.tar", "layer.tar")),
        _with_layer(link("l/layer.tar", "../../../../../../etc/passwd")),
        _with_layer(link("l/layer.tar", "/etc/passwd")),
        _with_layer(folder("l/layer.tar")),
        _with_layer(member("l/layer.tar", BASE), name="../../../l/layer.tar\0"),
        _with_layer(),
    ],
    ids=["loop", "out of the archive", "the host's", "directory", "nul", "missing"],
)
async def test_layers_that_are_not_there_are_refused(store: ImageStore, tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(Invalid):
        await loaded(store, tmp_path, raw)


def _zstd(raw: bytes) -> bytes:
    module = zstd_module()
    assert module is not None, "install backports.zstd"
    return bytes(module.compress(raw))


_SKIPPED = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"
_PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip in members": lambda raw: gzip.compress(raw[:700]) + gzip.compress(raw[700:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": _zstd,
    "zstd in frames": lambda raw: _SKIPPED + _zstd(raw[:700]) + _SKIPPED + _zstd(raw[700:]) + _SKIPPED,
}


@pytest.mark.parametrize("packing", _PACKINGS.values(), ids=_PACKINGS.keys())
async def test_layers_and_archives_have_any_compression(
    store: ImageStore, tmp_path: Path, packing: Callable[[bytes], bytes]
) -> None:
    raw = packing(oci_layout([BASE], [packing(BASE)], "app:1"))
    assert await loaded(store, tmp_path, raw) == [("app:1",)]


@pytest.mark.parametrize("packing", _PACKINGS.values(), ids=_PACKINGS.keys())
@pytest.mark.parametrize("where", [0.5, 0.9])
async def test_damaged_compression_is_refused_in_one_line(
    store: ImageStore, tmp_path: Path, packing: Callable[[bytes], bytes], where: float
) -> None:
    whole = packing(saved([BASE, tar(member("noise", bytes(range(256)) * 99))], ["app"]))
    cut = int(len(whole) * where)
    for raw in (whole[:cut], whole[:cut] + b"\xff\x00" * 20 + whole[cut + 40 :]):
        with pytest.raises(Invalid) as failure:
            await loaded(store, tmp_path, raw)
        assert len(str(failure.value)) < 300 and "\n" not in str(failure.value)
    assert store.list() == ()


# -- stacks ----------------------------------------------------------------------------------------------
async def test_an_image_without_layers_is_loaded(store: ImageStore, tmp_path: Path) -> None:
    assert await loaded(store, tmp_path, saved([], ["app"])) == [("app:latest",)]
    (name,) = store.layer_names(store.get("app"))
    assert list((store.layers_directory / name).iterdir()) == []


async def test_an_empty_layer_is_one(store: ImageStore, tmp_path: Path) -> None:
    assert await loaded(store, tmp_path, saved([BASE, b"", bytes(1024)], ["app"])) == [("app:latest",)]


async def test_layers_that_lean_on_others_are_kept_for_each_chain(store: ImageStore, tmp_path: Path) -> None:
    """`etc/new` needs the directory above it as the layers below have it."""
    leaning = tar(member("etc/new", b"x"))
    shut, open_ = tar(folder("etc", mode=0o700)), tar(folder("etc", mode=0o777))
    modes = []
    for lower in ([shut], [open_], [open_, TOP]):
        await loaded(store, tmp_path, saved([*lower, leaning], ["app"]))
        top = store.layers_directory / store.layer_names(store.get("app"))[-1]
        modes.append((top / "etc").stat().st_mode & 0o777)
    assert modes == [0o700, 0o777, 0o777]


async def test_a_layer_that_hides_all_below_it_is_the_lowest_of_its_stack(
    store: ImageStore, tmp_path: Path
) -> None:
    await loaded(store, tmp_path, saved([BASE, tar(member(".wh..wh..opq")), TOP], ["app"]))
    image = store.get("app")
    assert (len(image.layers), len(store.layer_names(image))) == (3, 2)


async def test_equal_layers_are_kept_once(store: ImageStore, tmp_path: Path) -> None:
    layers: Sequence[bytes] = [BASE, TOP, TOP, BASE]
    await loaded(store, tmp_path, saved(list(layers), ["app"]))
    assert len(set(store.layer_names(store.get("app")))) == 2
