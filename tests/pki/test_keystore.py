from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pki.csr import make_csr
from pki.keys import Locked, new_key
from pki.keystore import KeyStore
from pki.root import RootAuthority
from swarmcore.errors import FailedPrecondition, Invalid, NotInSwarm
from swarmcore.files import write_atomically
from swarmcore.model.node import NodeRole
from tests.pki.nodes import CLUSTER, node

KEK = bytes(range(32))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_an_empty_keystore_says_that_the_node_is_in_no_swarm(tmp_path: Path) -> None:
    keystore = KeyStore(tmp_path / "certificates")
    assert not keystore.load()
    with pytest.raises(NotInSwarm):
        _ = keystore.node_id


def test_what_was_saved_is_loaded(root: RootAuthority, tmp_path: Path) -> None:
    saved = node(root, tmp_path, "node1", NodeRole.MANAGER)
    loaded = KeyStore(saved.directory)
    assert loaded.load()
    assert loaded.identity == saved.identity
    assert (loaded.node_id, loaded.role, loaded.cluster_id) == ("node1", NodeRole.MANAGER, CLUSTER)
    assert loaded.root_pem == root.cert_pem
    assert loaded.cert_pem == saved.cert_pem


def test_only_the_owner_reads_the_files_whatever_the_umask(root: RootAuthority, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        keystore = node(root, tmp_path)
    finally:
        os.umask(old)
    assert [mode(path) for path in sorted(keystore.directory.iterdir())] == [0o600, 0o600]
    assert mode(keystore.directory) == 0o700


def test_a_certificate_for_another_key_or_of_another_root_is_not_saved(
    root: RootAuthority, tmp_path: Path
) -> None:
    keystore = node(root, tmp_path)
    before = keystore.node_file.read_bytes()
    key = new_key()
    foreign = RootAuthority.create().sign(make_csr(key), "node1", NodeRole.WORKER, CLUSTER)
    with pytest.raises(Invalid, match="not signed by the swarm's root"):
        keystore.save(key, foreign, root.cert_pem)
    with pytest.raises(Invalid, match="another key"):
        keystore.save(key, keystore.cert_pem, root.cert_pem)
    assert keystore.node_file.read_bytes() == before


def test_a_damaged_file_is_named(root: RootAuthority, tmp_path: Path) -> None:
    keystore = node(root, tmp_path)
    keystore.node_file.write_bytes(keystore.node_file.read_bytes()[:300])
    with pytest.raises(FailedPrecondition, match=r"swarm-node\.pem is unusable") as caught:
        keystore.load()
    assert caught.value.hint


def test_a_locked_key_is_never_in_the_clear_on_disk(root: RootAuthority, tmp_path: Path) -> None:
    keystore = node(root, tmp_path, kek=KEK)
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in keystore.node_file.read_bytes()
    assert b"BEGIN PRIVATE KEY" not in keystore.node_file.read_bytes()
    with pytest.raises(Locked):
        KeyStore(keystore.directory).load()
    assert KeyStore(keystore.directory, KEK).load()


def test_changing_the_kek_keeps_the_identity_and_counts(root: RootAuthority, tmp_path: Path) -> None:
    keystore = node(root, tmp_path)
    keystore.change_kek(KEK, 7)
    with pytest.raises(Locked):
        KeyStore(keystore.directory).load()
    loaded = KeyStore(keystore.directory, KEK)
    assert loaded.load()
    assert loaded.kek_version == 7
    assert loaded.identity == keystore.identity


def test_forgetting_leaves_no_file(root: RootAuthority, tmp_path: Path) -> None:
    keystore = node(root, tmp_path)
    keystore.forget()
    assert list(keystore.directory.iterdir()) == []
    assert not keystore.load()


def test_a_write_that_fails_leaves_the_old_file_and_no_stray_one(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "taken", b"new", durable=True)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_stray_file_of_a_crash_is_taken_over_with_the_right_mode(tmp_path: Path) -> None:
    stray = tmp_path / ".key.new"
    stray.write_bytes(b"half a ke")
    stray.chmod(0o644)
    write_atomically(tmp_path / "key", b"whole", durable=True)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (mode(tmp_path / "key"), (tmp_path / "key").read_bytes()) == (0o600, b"whole")


def test_a_reader_sees_the_old_or_the_new_file_and_never_a_part(tmp_path: Path) -> None:
    path, versions = tmp_path / "key", {bytes([n]) * 50_000 for n in range(3)}
    write_atomically(path, bytes(50_000), durable=True)
    done = threading.Event()

    def write() -> None:
        for _ in range(10):
            for version in versions:
                write_atomically(path, version, durable=True)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= versions
