"""The image store: what is loaded, found, named, removed; what is malformed changes nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmcore.aio import owned
from swarmcore.errors import Conflict, Invalid, NotFound
from swarmcore.files import remove_tree
from tests.worker.images.archives import config, digest, folder, member, oci_layout, saved, tar, written
from worker.images.changes import apply_changes
from worker.images.limits import DiskFull
from worker.images.oci import RunConfig
from worker.images.store import ImageStore
from worker.runtime.mounts import mount, unmount

pytestmark = pytest.mark.root

BASE = tar(folder("bin"), member("bin/sh", b"shell" * 100))
TOP = tar(member("app", b"application"))


@pytest.fixture
async def store(tmp_path: Path) -> ImageStore:
    made = ImageStore(tmp_path / "images")
    await made.open()
    return made


def content(store: ImageStore, tmp_path: Path) -> set[str]:
    root = tmp_path / "images"
    return {str(path.relative_to(root)) for path in root.rglob("*")}


async def test_a_docker_archive_is_loaded_and_found_by_name_id_and_prefix(
    store: ImageStore, tmp_path: Path
) -> None:
    (image,) = await store.load(written(tmp_path / "a.tar", saved([BASE, TOP], ["me/app:1", "other:2"])))
    assert image.id == digest(config([BASE, TOP]))
    assert image.names == ("me/app:1", "other:2")
    assert image.size == 511
    for text in (
        "me/app:1",
        "docker.io/me/app:1",
        image.id,
        image.id.removeprefix("sha256:"),
        image.id[7:19],
    ):
        assert store.get(text) == image
    assert store.config(image).run.cmd == ("run",)
    lower = [store.layers_directory / name for name in store.layer_names(image)]
    assert (lower[0] / "bin/sh").read_bytes() == b"shell" * 100
    assert (lower[1] / "app").read_bytes() == b"application"


async def test_an_oci_layout_with_compressed_layers_is_loaded_and_pinned_by_digest(
    store: ImageStore, tmp_path: Path
) -> None:
    archive = oci_layout([BASE], [gzip.compress(BASE)], "registry.example/app:v1")
    (image,) = await store.load(written(tmp_path / "a.tar", archive))
    assert image.names == ("registry.example/app:v1",)
    assert len(image.digests) == 2  # the index's and the manifest's
    for pinned in image.digests:
        assert store.get(pinned) == store.get(pinned.replace("app@", "app:v1@")) == image


async def test_a_compressed_archive_is_loaded_as_well(store: ImageStore, tmp_path: Path) -> None:
    (image,) = await store.load(written(tmp_path / "a.tgz", gzip.compress(saved([BASE], ["app"]))))
    assert image.names == ("app:latest",)
    assert "archive.tar" not in {path.name for path in (tmp_path / "images").rglob("*")}


async def test_the_store_is_the_same_after_it_is_opened_again(store: ImageStore, tmp_path: Path) -> None:
    await store.load(written(tmp_path / "a.tar", saved([BASE], ["app"])))
    again = ImageStore(tmp_path / "images")
    await again.open()
    assert again.list() == store.list()


async def test_what_a_crash_left_is_removed_when_the_store_is_opened(
    store: ImageStore, tmp_path: Path
) -> None:
    before = content(store, tmp_path)
    (tmp_path / "images/staging/half").mkdir()
    (tmp_path / "images/layers/unknown").mkdir()
    (tmp_path / "images/blobs/sha256/unknown").touch()
    await ImageStore(tmp_path / "images").open()
    assert content(store, tmp_path) == before


@pytest.mark.parametrize(
    "damage", [None, b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"images": [{"id": 3}]}']
)
async def test_a_list_that_is_lost_or_damaged_is_made_anew_and_that_is_said(
    store: ImageStore, tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    lean = tar(member("bin/new", b"leans on the directory below"))
    await store.load(written(tmp_path / "a.tar", saved([BASE, TOP, lean], ["app"])))
    await store.load(written(tmp_path / "b.tar", saved([TOP], ["other"])))
    before = {image.id: (image.keys, image.size) for image in store.list()}
    index = tmp_path / "images/images.json"
    if damage is None:
        index.unlink()
    else:
        index.write_bytes(damage)
    again = ImageStore(tmp_path / "images")
    await again.open()
    assert {image.id: (image.keys, image.size) for image in again.list()} == before
    assert {image.names for image in again.list()} == {()}
    (said,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert said.__dict__["images"] == 2
    assert "load the archives again" in said.__dict__["hint"]
    assert (tmp_path / "images/images.damaged").exists() == (damage is not None)
    # The hint works, and the next start finds nothing to say.
    await again.load(tmp_path / "a.tar")
    caplog.clear()
    third = ImageStore(tmp_path / "images")
    await third.open()
    assert third.get("app").id in before
    assert not caplog.records


async def test_what_a_lost_list_named_is_gone_only_where_layers_are_missing(
    store: ImageStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (gone,) = await store.load(written(tmp_path / "a.tar", saved([BASE], ["app"])))
    (kept,) = await store.load(written(tmp_path / "b.tar", saved([TOP], ["other"])))
    (tmp_path / "images/images.json").unlink()
    remove_tree(store.layers_directory / store.layer_names(gone)[0])
    (tmp_path / "images/blobs/sha256/unknown").write_bytes(b"no config")
    again = ImageStore(tmp_path / "images")
    await again.open()
    assert [image.id for image in again.list()] == [kept.id]
    assert "made anew" in caplog.text


async def test_the_list_of_an_earlier_version_is_read(store: ImageStore, tmp_path: Path) -> None:
    """It had no stacks: layers were kept by their digests alone."""
    (image,) = await store.load(written(tmp_path / "a.tar", saved([BASE, TOP], ["app"])))
    index = tmp_path / "images/images.json"
    old = json.loads(index.read_text())
    for entry in old["images"]:
        del entry["stack"]
    index.write_text(json.dumps(old))
    again = ImageStore(tmp_path / "images")
    await again.open()
    assert again.layer_names(again.get("app")) == store.layer_names(image)


async def test_a_new_host_has_nothing_to_say(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await ImageStore(tmp_path / "new").open()
    await ImageStore(tmp_path / "new").open()
    assert not caplog.records


async def test_loading_twice_changes_nothing(store: ImageStore, tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", saved([BASE], ["app"]))
    first = await store.load(path)
    before = content(store, tmp_path)
    assert await store.load(path) == first
    assert content(store, tmp_path) == before


async def test_a_name_moves_to_the_newer_image(store: ImageStore, tmp_path: Path) -> None:
    (old,) = await store.load(written(tmp_path / "a.tar", saved([BASE], ["app"])))
    (new,) = await store.load(written(tmp_path / "b.tar", saved([BASE, TOP], ["app"])))
    assert store.get("app").id == new.id
    assert store.get(old.id).names == ()


def _broken() -> Iterator[tuple[str, bytes]]:
    good = saved([BASE], ["app"])
    yield "garbage", b"this is no archive at all" * 100
    yield "empty", b""
    yield "cut short", good[: len(good) // 2]
    yield "cut gzip", gzip.compress(good)[:-200]
    yield "plain tar", tar(member("hello", b"x"))
    yield "zstd", b"\x28\xb5\x2f\xfd" + b"x" * 100
    yield "manifest is no JSON", tar(member("manifest.json", b"{"))
    yield "manifest of another shape", tar(member("manifest.json", b'[{"Layers": 3}]'))
    yield "config missing", tar(member("manifest.json", b'[{"Config": "x", "Layers": []}]'))
    yield "layer of another content", saved([BASE], ["app"], raw_config=config([TOP]))
    yield "layer count differs", saved([BASE], ["app"], raw_config=config([BASE, TOP]))
    yield "windows", saved([BASE], ["app"], raw_config=config([BASE], os="windows"))
    yield "bad name", saved([BASE], ["Not A Name"])
    yield "escaping layer", saved([tar(member("../../evil", b"x"))], ["app"])
    yield "damaged blob", oci_layout([BASE], [BASE], "app:1").replace(b"shellshell", b"shelLshell")
    yield "other architecture only", oci_layout([BASE], [BASE], "app:1", architecture="s390x")
    second = json.dumps(
        [
            {"Config": "c.json", "RepoTags": ["good"], "Layers": ["l"]},
            {"Config": "missing", "RepoTags": ["bad"], "Layers": ["l"]},
        ]
    ).encode()
    yield (
        "second image broken",
        tar(member("c.json", config([BASE])), member("l", BASE), member("manifest.json", second)),
    )


@pytest.mark.parametrize("broken", [pytest.param(raw, id=name) for name, raw in _broken()])
async def test_a_malformed_archive_is_refused_and_nothing_changes(
    store: ImageStore, tmp_path: Path, broken: bytes
) -> None:
    before = content(store, tmp_path)
    with pytest.raises(Invalid) as failure:
        await store.load(written(tmp_path / "a.tar", broken))
    assert "\n" not in str(failure.value)
    assert store.list() == ()
    assert content(store, tmp_path) == before
    assert not (tmp_path / "evil").exists()


async def test_a_missing_file_is_named(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"none\.tar: No such file"):
        await store.load(tmp_path / "none.tar")


async def test_a_full_disk_is_said_and_cleaned_up(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    mount("tmpfs", str(root), "tmpfs", options="size=256k")
    try:
        store = ImageStore(root)
        await store.open()
        before = content(store, tmp_path)
        large = tar(member("large", b"x" * (1 << 20)))
        with pytest.raises(DiskFull, match="no space left"):
            await store.load(written(tmp_path / "a.tar", saved([large], ["app"])))
        assert content(store, tmp_path) == before
        await store.load(written(tmp_path / "b.tar", saved([TOP], ["small"])))
    finally:
        unmount(str(root))


async def test_a_root_file_system_is_imported_with_changes(store: ImageStore, tmp_path: Path) -> None:
    run = apply_changes(
        ['CMD ["sh"]', 'ENV A=1 B="two words"', "USER web", "WORKDIR /srv", "EXPOSE 80 53/udp"]
    )
    image = await store.import_rootfs(written(tmp_path / "r.tar", gzip.compress(BASE)), "mine:1", run)
    found = store.config(store.get("mine:1")).run
    assert found == RunConfig(
        cmd=("sh",),
        env=("A=1", "B=two words"),
        user="web",
        working_dir="/srv",
        exposed_ports={"80/tcp": {}, "53/udp": {}},
    )
    assert image.layers == (digest(BASE),)


@pytest.mark.parametrize("raw", [b"garbage" * 200, b"", gzip.compress(BASE)[:-50], tar()])
async def test_what_is_no_root_file_system_is_refused(store: ImageStore, tmp_path: Path, raw: bytes) -> None:
    before = content(store, tmp_path)
    with pytest.raises(Invalid):
        await store.import_rootfs(written(tmp_path / "r.tar", raw), "mine")
    assert content(store, tmp_path) == before


@pytest.mark.parametrize("line", ["RUN x", "CMD", "ENV a=1 b", 'ENV "'])
def test_changes_that_are_not_known_are_refused(line: str) -> None:
    with pytest.raises(Invalid):
        apply_changes([line])


async def test_names_are_added_and_removed_and_the_last_takes_the_image_with_it(
    store: ImageStore, tmp_path: Path
) -> None:
    empty = content(store, tmp_path)
    (image,) = await store.load(written(tmp_path / "a.tar", saved([BASE], ["app"])))
    assert (await store.tag("app", "app:2")).names == ("app:2", "app:latest")
    with pytest.raises(Conflict, match="several names"):
        await store.remove(image.id)
    first = await store.remove("app")
    assert (first.untagged, first.deleted) == (("app:latest",), ())
    second = await store.remove("app:2")
    assert (second.untagged, second.deleted) == (("app:2",), (image.id,))
    assert content(store, tmp_path) == empty


async def test_a_layer_that_another_image_uses_stays(store: ImageStore, tmp_path: Path) -> None:
    await store.load(written(tmp_path / "a.tar", saved([BASE], ["app"])))
    (both,) = await store.load(written(tmp_path / "b.tar", saved([BASE, TOP], ["both"])))
    await store.remove("app")
    assert all((store.layers_directory / name).is_dir() for name in store.layer_names(both))


async def test_an_image_that_is_held_is_not_removed(store: ImageStore, tmp_path: Path) -> None:
    (image,) = await store.load(written(tmp_path / "a.tar", saved([BASE], ["app"])))
    store.hold(image.id, "container")
    with pytest.raises(Conflict, match="used by 1 container"):
        await store.remove("app")
    store.release("container")
    assert (await store.remove("app")).deleted == (image.id,)


async def test_an_image_that_is_being_removed_cannot_be_taken(store: ImageStore, tmp_path: Path) -> None:
    await store.load(written(tmp_path / "a.tar", saved([BASE], ["app"])))
    async with owned(store.remove("app"), "remove") as removing:
        while not removing.done():
            try:
                image = store.find_and_hold("app", "container")
            except NotFound:
                break
            assert all((store.layers_directory / name).is_dir() for name in store.layer_names(image))
            store.release("container")
            await asyncio.sleep(0)
        await removing
    assert store.list() == ()


async def test_a_load_that_nobody_waits_for_ends_before_the_next_change(
    store: ImageStore, tmp_path: Path
) -> None:
    """The archive is a pipe: the reader is known to be in the middle of it, and to be gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with owned(store.load(pipe), "load") as loading:
        writer = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)  # returns when the reader has opened it
        try:
            loading.cancel()
            (image,) = await store.load(written(tmp_path / "a.tar", saved([BASE], ["app"])))
            assert loading.done()
            with pytest.raises(BrokenPipeError):
                os.write(writer, b"x")
        finally:
            os.close(writer)
    assert (store.layers_directory / store.layer_names(image)[0] / "bin/sh").is_file()
    assert not any((tmp_path / "images/staging").iterdir())


async def test_unknown_images_are_not_found_with_a_hint(store: ImageStore) -> None:
    for text in ("nope", "nope:1", "sha256:" + "0" * 64, "abcd", "NOT VALID"):
        with pytest.raises(NotFound, match="no such image") as failure:
            store.get(text)
        assert "image load" in failure.value.hint


async def test_loading_does_not_block_the_loop(store: ImageStore, tmp_path: Path) -> None:
    layer = tar(*(member(f"f{number}", b"x" * 1000) for number in range(3000)))
    path = written(tmp_path / "a.tar", saved([layer], ["app"]))
    loading = asyncio.gather(store.load(path))
    turns = 0
    while not loading.done():
        await asyncio.sleep(0)
        turns += 1
    await loading
    assert turns > 10


async def test_concurrent_loads_of_the_same_image_agree(store: ImageStore, tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", saved([BASE, TOP], ["app"]))
    results = await asyncio.gather(*(store.load(path) for _ in range(4)))
    assert len({result[0].id for result in results}) == 1
    assert len(store.list()) == 1
