"""A container's record on disk: what an earlier version wrote is read, and the other way round."""

from __future__ import annotations

from pathlib import Path

import msgspec

from worker.containers import record
from worker.containers.phases import Phase

# As pyswarm wrote it before containers had owners, when all were of tasks.
OLD = (
    b'{"id":"c0ffee","task_id":"t1","name":"web.1.t1","image_id":"sha256:1","phase":"running",'
    b'"created":"2026-01-02T03:04:05Z","stop_signal":15,"grace_ns":10000000000,"runtime":"crun",'
    b'"container":{"pid":7,"started":70},"supervisor":{"pid":6,"started":60},'
    b'"started":"2026-01-02T03:04:06Z","mounts":[{"source":"overlay","target":"/s/rootfs","kind":"overlay",'
    b'"cwd":"/l","layers":["l1"],"own":"/s"}],"volumes":["data"],"sandbox":{"id":"c0ffee","task_id":"t1",'
    b'"hostname":"h","joins":[],"host_joins":[],"ingress":[],"gateway":true,"host_ports":[],'
    b'"resolving":{"upstreams":[],"from_host":[],"search":[],"ndots":0}}}'
)


def test_a_record_of_the_version_before_is_read_with_its_owner(tmp_path: Path) -> None:
    (tmp_path / "container.json").write_bytes(OLD)
    found = record.load(tmp_path)
    assert found is not None
    assert (found.id, found.owner, found.name, found.phase) == ("c0ffee", "t1", "web.1.t1", Phase.RUNNING)
    assert found.container is not None
    assert found.container.pid == 7
    assert found.sandbox is not None


def test_a_record_is_written_as_the_version_before_reads_it(tmp_path: Path) -> None:
    (tmp_path / "container.json").write_bytes(OLD)
    found = record.load(tmp_path)
    assert found is not None
    record.save(tmp_path, found)
    assert msgspec.json.decode((tmp_path / "container.json").read_bytes()) == msgspec.json.decode(OLD)


def test_a_container_that_is_nobodys_has_no_owner_on_disk(tmp_path: Path) -> None:
    (tmp_path / "container.json").write_bytes(OLD.replace(b'"task_id":"t1","name"', b'"name"', 1))
    found = record.load(tmp_path)
    assert found is not None
    assert found.owner == ""
    record.save(tmp_path, found)
    assert "task_id" not in msgspec.json.decode((tmp_path / "container.json").read_bytes())
