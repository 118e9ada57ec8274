"""Names of unpacked layers: what is in one depends on its own archive, and at times on the layers below it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from hashlib import sha256


def directory_name(key: str) -> str:
    """A layer's directory by its key: 26 characters, so that 140 of them fit into mount(2)'s page of options."""
    raw = bytes.fromhex(key.removeprefix("sha256:"))
    return base64.b32encode(raw[:16]).decode().rstrip("=").lower()


def keys(diff_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Of each layer, from the lowest up, its two keys: its digest, and one that belongs to the layers below it too.

    The second is made of the chain id of the OCI image specification; a layer that leans on those below has it.
    """
    chain = ""
    for diff_id in diff_ids:
        chain = f"sha256:{sha256(f'{chain} {diff_id}'.encode()).hexdigest()}" if chain else diff_id
        yield diff_id, f"sha256:{sha256(f'only on {chain}'.encode()).hexdigest()}"
