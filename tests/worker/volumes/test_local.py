"""Local volumes: names that stay inside their directory, content that outlives containers and is never lost to one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from swarmcore.errors import Conflict, Invalid, NotFound
from worker.volumes.local import Volumes


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes(tmp_path / "volumes")


def test_a_volume_is_made_once_and_found_again(volumes: Volumes, tmp_path: Path) -> None:
    assert volumes.list() == ()
    made = volumes.ensure("data", {"tier": "front"})
    (volumes.path("data") / "kept").write_bytes(b"x")
    assert volumes.ensure("data", {"other": "labels"}) == made == volumes.get("data")
    assert (made.name, made.labels, made.anonymous) == ("data", {"tier": "front"}, False)
    assert Volumes(tmp_path / "volumes").list() == (made,)
    assert (volumes.path("data") / "kept").read_bytes() == b"x"


def test_without_a_name_there_is_a_new_one_each_time(volumes: Volumes) -> None:
    one, other = volumes.ensure(), volumes.ensure()
    assert one.name != other.name and one.anonymous and other.anonymous
    assert {volume.name for volume in volumes.list()} == {one.name, other.name}


@pytest.mark.parametrize(
    "name", ["..", ".", "a", "../x", "a/b", "/etc", ".hidden", "-rf", "a b", "ä1", "a\0b", "a\n"]
)
def test_a_name_never_leads_out_of_the_directory(volumes: Volumes, name: str) -> None:
    for act in (volumes.ensure, volumes.path, volumes.get, volumes.remove):
        with pytest.raises(Invalid, match="invalid volume name"):
            act(name)
    assert volumes.list() == ()


def test_a_volume_in_use_stays(volumes: Volumes) -> None:
    volumes.ensure("data")
    volumes.hold("data", "c1")
    volumes.hold("data", "c2")
    volumes.release("c1")
    with pytest.raises(Conflict, match=r"in use by 1 container"):
        volumes.remove("data")
    volumes.release("c2", keep=["data"])
    with pytest.raises(Conflict):
        volumes.remove("data")
    volumes.release("c2")
    volumes.remove("data")
    with pytest.raises(NotFound, match="no such volume: data"):
        volumes.get("data")
    with pytest.raises(NotFound):
        volumes.remove("data")
    assert volumes.list() == ()


def image(root: Path) -> Path:
    """With a directory of everything that may be in one."""
    place = root / "var/lib/app"
    (place / "sub").mkdir(parents=True)
    (place / "file").write_bytes(b"from the image")
    (place / "file").chmod(0o640)
    (place / "sub" / "inner").write_bytes(b"inner")
    (place / "link").symlink_to("/etc/passwd")
    os.mkfifo(place / "pipe")
    place.chmod(0o710)
    return root


def test_a_new_volume_starts_with_what_the_image_has_there(volumes: Volumes, tmp_path: Path) -> None:
    volumes.ensure("data")
    volumes.fill("data", image(tmp_path / "root"), "/var/lib/app/")
    data = volumes.path("data")
    assert sorted(path.name for path in data.iterdir()) == ["file", "link", "sub"]
    assert (data / "file").read_bytes() == b"from the image"
    assert stat.S_IMODE((data / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE(data.stat().st_mode) == 0o710
    assert (data / "sub" / "inner").read_bytes() == b"inner"
    assert (data / "link").readlink() == Path("/etc/passwd")


def test_what_is_in_a_volume_already_is_left_alone(volumes: Volumes, tmp_path: Path) -> None:
    volumes.ensure("data")
    (volumes.path("data") / "mine").write_bytes(b"x")
    volumes.fill("data", image(tmp_path / "root"), "/var/lib/app")
    assert [path.name for path in volumes.path("data").iterdir()] == ["mine"]


@pytest.mark.parametrize("target", ["/nowhere", "/var/lib/app/file", "/var/lib/app/file/below"])
def test_where_the_image_has_no_directory_a_volume_stays_empty(
    volumes: Volumes, tmp_path: Path, target: str
) -> None:
    volumes.ensure("data")
    volumes.fill("data", image(tmp_path / "root"), target)
    assert list(volumes.path("data").iterdir()) == []


def test_an_images_link_does_not_lead_out_of_it(volumes: Volumes, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_bytes(b"the host's")
    root = tmp_path / "root"
    root.mkdir()
    (root / "data").symlink_to(tmp_path / "secrets")
    (root / "up").symlink_to("../secrets")
    volumes.ensure("data")
    for target in ("/data", "/up"):
        volumes.fill("data", root, target)
    assert list(volumes.path("data").iterdir()) == []
