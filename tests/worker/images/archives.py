"""Image archives made for tests, right ones and wrong ones."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from worker.images.oci import host_architecture


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(content)
    made.mode = 0o644
    for key, value in fields.items():
        setattr(made, key, value)
    return made, content


def folder(name: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def link(name: str, target: str, *, hard: bool = False) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE if hard else tarfile.SYMTYPE, linkname=target)


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def config(layers: Iterable[bytes], **changes: Any) -> bytes:
    content: dict[str, Any] = {
        "architecture": host_architecture(),
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": ["run"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
    }
    return json.dumps({**content, **changes}).encode()


def saved(layers: list[bytes], names: list[str], *, raw_config: bytes | None = None) -> bytes:
    """As `docker save` writes it."""
    raw = raw_config if raw_config is not None else config(layers)
    manifest = [
        {"Config": "c.json", "RepoTags": names, "Layers": [f"{n}/layer.tar" for n in range(len(layers))]}
    ]
    return tar(
        member("c.json", raw),
        *(member(f"{number}/layer.tar", layer) for number, layer in enumerate(layers)),
        member("manifest.json", json.dumps(manifest).encode()),
    )


def oci_layout(layers: list[bytes], stored: list[bytes], name: str, architecture: str | None = None) -> bytes:
    """An OCI layout; `stored` are the layers as they lie in it (compressed, say)."""
    raw = config(layers)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": {"mediaType": "c", "digest": digest(raw), "size": len(raw)},
            "layers": [{"mediaType": "l", "digest": digest(layer), "size": len(layer)} for layer in stored],
        }
    ).encode()
    inner = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [
                {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": digest(manifest),
                    "size": len(manifest),
                    "platform": {"os": "linux", "architecture": architecture or host_architecture()},
                }
            ],
        }
    ).encode()
    index = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [
                {
                    "mediaType": "application/vnd.oci.image.index.v1+json",
                    "digest": digest(inner),
                    "size": len(inner),
                    "annotations": {"io.containerd.image.name": name},
                }
            ],
        }
    ).encode()
    blobs = {digest(blob): blob for blob in (raw, manifest, inner, *stored)}
    return tar(
        member("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
        member("index.json", index),
        *(member(f"blobs/sha256/{key.removeprefix('sha256:')}", blob) for key, blob in blobs.items()),
    )


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
