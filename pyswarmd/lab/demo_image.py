"""Builds the demo image from Debian's busybox-static: a small HTTP server that answers its host name
(and at /cgi-bin/client also the address that it sees its client at).

The archive is what `docker save` writes, the same bytes for the same busybox, so that it can be loaded
by `pyswarm image load` as well as by `docker load`.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from swarmcore.errors import FailedPrecondition
from worker.images.oci import host_architecture

DEMO_REFERENCE = "pyswarm/demo:latest"
DEMO_PORT = 8000
_APPLETS = (
    "[ ash awk base64 basename cat chgrp chmod chown cksum cp cut date dd df dirname dmesg du echo egrep env "
    "expr false find free grep gunzip gzip head hexdump hostname httpd id ifconfig ip kill killall ln logger "
    "ls md5sum mkdir mkfifo mknod mktemp mount mv nc netstat nproc nslookup od pidof ping printf ps pwd "
    "readlink realpath rm rmdir route sed seq setsid sh sha256sum sleep sort stat stty sync tail tar tee "
    "telnet test time timeout top touch tr traceroute true tty umount uname uniq unshare uptime usleep vi wc "
    "wget which whoami xargs yes"
)
# Process 1 gets no default signal actions: without the trap every stop would take the whole grace period.
_SERVE = """#!/bin/sh
trap 'kill "$server"; wait "$server"; exit 0' TERM INT
port="${PORT:-@PORT@}"
httpd -f -p "$port" -h /www &
server=$!
echo "$(hostname): listening on port $port"
wait "$server"
"""
_ANSWER = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n%s\\n' "$(hostname)"
"""
_CLIENT = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n%s %s\\n' "$(hostname)" "$REMOTE_ADDR"
"""
_FILES: dict[str, tuple[str, int]] = {
    "etc/passwd": ("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644),
    "etc/group": ("root:x:0:\nnogroup:x:65534:\n", 0o644),
    "etc/nsswitch.conf": ("hosts: files dns\n", 0o644),
    "usr/local/bin/serve": (_SERVE.replace("@PORT@", str(DEMO_PORT)), 0o755),
    # busybox httpd runs this for every directory that has no index.html.
    "www/cgi-bin/index.cgi": (_ANSWER, 0o755),
    "www/cgi-bin/client": (_CLIENT, 0o755),
}
_FOLDERS = (
    *("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "usr/local", "usr/local/bin", "var"),
    *("www", "www/cgi-bin"),
)


def find_busybox(path: str | None = None) -> Path:
    """The static busybox of this machine."""
    found = shutil.which("busybox", path=path or "/usr/local/bin:/usr/bin:/bin")
    if found is None:
        raise FailedPrecondition("the demo image needs busybox", "install it: apt-get install busybox-static")
    if _is_dynamic(Path(found).read_bytes()):
        raise FailedPrecondition(
            f"{found} is dynamically linked: it would not start in an image of its own",
            "install the static one: apt-get install busybox-static",
        )
    return Path(found)


def _is_dynamic(elf: bytes) -> bool:
    """Whether the program names a loader (a PT_INTERP header)."""
    if elf[:4] != b"\x7fELF" or elf[4] != 2:
        return elf[:4] == b"\x7fELF"  # 32 bit: not looked into
    start = int.from_bytes(elf[32:40], "little")
    size, count = int.from_bytes(elf[54:56], "little"), int.from_bytes(elf[56:58], "little")
    headers = (start + position * size for position in range(count))
    return any(int.from_bytes(elf[offset : offset + 4], "little") == 3 for offset in headers)


def build_demo_image(busybox: Path | None = None, reference: str = DEMO_REFERENCE) -> bytes:
    """The archive with one image, whose command is the server."""
    config = {
        "Env": ["PATH=/usr/local/bin:/bin"],
        "Cmd": ["serve"],
        "ExposedPorts": {f"{DEMO_PORT}/tcp": {}},
        "Labels": {"org.opencontainers.image.description": "pyswarm's demo: answers its host name"},
    }
    return image_archive(base_layer(busybox or find_busybox()), config, reference)


def base_layer(busybox: Path) -> bytes:
    """One layer: busybox, its usual names, the server."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in _FOLDERS:
            _add(tar, folder, mode=0o1777 if folder == "tmp" else 0o755, kind=tarfile.DIRTYPE)
        _add(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        for applet in _APPLETS.split():
            _add(tar, f"bin/{applet}", kind=tarfile.SYMTYPE, link="busybox", mode=0o777)
        for name, (text, mode) in _FILES.items():
            _add(tar, name, text.encode(), mode)
    return buffer.getvalue()


def image_archive(layer: bytes, config: dict[str, Any], reference: str) -> bytes:
    """A docker-save archive of an image with one uncompressed layer."""
    raw_config = json.dumps(
        {
            "architecture": host_architecture(),
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "pyswarm demo image"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(raw_config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, config_name, raw_config)
        _add(tar, "layer.tar", layer)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    return buffer.getvalue()


def _add(
    tar: tarfile.TarFile,
    name: str,
    content: bytes = b"",
    mode: int = 0o644,
    *,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.linkname, member.size = kind, mode, link, len(content)
    tar.addfile(member, io.BytesIO(content))
