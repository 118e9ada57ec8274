"""Secrets and configs as files of a tmpfs."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from swarmcore.errors import Invalid
from worker.containers.plan import PlannedFile
from worker.containers.private_files import private_files


def test_each_file_has_a_number_of_its_own_and_its_content_goes_to_the_spawner_alone(tmp_path: Path) -> None:
    files = (
        PlannedFile(target="/run/secrets//key", content=b"hush", uid=7, gid=8, mode=0o100440),
        PlannedFile(target="/app.conf", content=b"a=1"),
    )
    targets, (mount,) = private_files(files, tmp_path)
    assert targets == {"/run/secrets/key": str(tmp_path / "0"), "/app.conf": str(tmp_path / "1")}
    assert (mount.kind, mount.target) == ("tmpfs", str(tmp_path))
    assert [base64.b64decode(each.content) for each in mount.files] == [b"hush", b"a=1"]
    assert (mount.files[0].uid, mount.files[0].gid, mount.files[0].mode) == (7, 8, 0o440)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_mounted_for_no_files(tmp_path: Path) -> None:
    assert private_files((), tmp_path) == ({}, ())


def test_a_target_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="invalid mount target"):
        private_files((PlannedFile(target="/", content=b""),), tmp_path)
