"""The data key that seals raft's journal and snapshots at rest: 32 random bytes in `raft-dek`, itself wrapped
with AES-256-GCM under the key-encrypting key where autolock is on.

The file is text, one wrapping of the data keys per line, and the current data key first in each. Changing the
key-encrypting key first writes both wrappings and drops the old one once the node's key has moved too, so that
a crash in between leaves a file that either key opens.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from pki.keys import Locked
from pki.tokens import RandomBytes
from swarmcore.errors import FailedPrecondition
from swarmcore.files import private_directory, remove_durably, write_atomically

FILE = "raft-dek"
KEY_BYTES = 32
_NONCE_BYTES = 12
_LABEL = b"pyswarm raft-dek 1"
_PLAIN, _WRAPPED = "plain", "aes-256-gcm"


class DataKeys(Struct, frozen=True, kw_only=True):
    """`current` seals what is written from now on; `older` still open what was sealed before a rotation."""

    current: bytes
    older: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"DataKeys({1 + len(self.older)} keys)"


class DataKeyFile:
    def __init__(self, directory: Path, random: RandomBytes = secrets.token_bytes) -> None:
        self._path = directory / FILE
        self._random = random

    def load_or_create(self, kek: bytes | None = None) -> DataKeys:
        """Raises Locked where the file needs another `kek`, FailedPrecondition where it is damaged.

        A damaged file is never replaced: without the key in it the journal is lost.
        """
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            keys = DataKeys(current=self._random(KEY_BYTES))
            self._write([self._wrap(keys, kek)])
            return keys
        damaged = FailedPrecondition(
            f"the data key file {self._path} is damaged",
            'restore it from a backup, or run "pyswarm leave --force" and join as a new manager',
        )
        forms: list[tuple[str, bytes]] = []
        for line in lines:
            form, _, body = line.decode("ascii", "replace").partition(" ")
            try:
                forms.append((form, base64.b64decode(body, validate=True)))
            except (binascii.Error, ValueError):
                raise damaged from None
        if not forms or any(form not in (_PLAIN, _WRAPPED) for form, _ in forms):
            raise damaged
        for form, raw in forms:
            if (opened := self._open(form, raw, kek)) is not None:
                if not opened or len(opened) % KEY_BYTES:
                    raise damaged
                cut = [opened[at : at + KEY_BYTES] for at in range(0, len(opened), KEY_BYTES)]
                return DataKeys(current=cut[0], older=tuple(cut[1:]))
        raise Locked("the swarm's stored state is encrypted and locked")

    def change_kek(self, old: bytes | None, new: bytes | None) -> None:
        """Both keys open the file afterwards; `settle` ends that once the node's key is under `new` too."""
        keys = self.load_or_create(old)
        self._write([self._wrap(keys, new), self._wrap(keys, old)])

    def settle(self, kek: bytes | None) -> None:
        """Only `kek` opens the file afterwards."""
        self._write([self._wrap(self.load_or_create(kek), kek)])

    def rotate(self, kek: bytes | None = None) -> DataKeys:
        """A new current key; the older ones stay until `drop_older`."""
        keys = self.load_or_create(kek)
        rotated = DataKeys(current=self._random(KEY_BYTES), older=(keys.current, *keys.older))
        self._write([self._wrap(rotated, kek)])
        return rotated

    def drop_older(self, kek: bytes | None = None) -> DataKeys:
        keys = DataKeys(current=self.load_or_create(kek).current)
        self._write([self._wrap(keys, kek)])
        return keys

    def remove(self) -> None:
        remove_durably(self._path)

    def _write(self, lines: list[str]) -> None:
        private_directory(self._path.parent)
        write_atomically(self._path, "".join(f"{line}\n" for line in lines).encode(), durable=True)

    def _wrap(self, keys: DataKeys, kek: bytes | None) -> str:
        raw = b"".join((keys.current, *keys.older))
        if kek is None:
            return f"{_PLAIN} {base64.b64encode(raw).decode()}"
        nonce = self._random(_NONCE_BYTES)
        return f"{_WRAPPED} {base64.b64encode(nonce + AESGCM(kek).encrypt(nonce, raw, _LABEL)).decode()}"

    @staticmethod
    def _open(form: str, raw: bytes, kek: bytes | None) -> bytes | None:
        if form == _PLAIN:
            return raw
        if kek is None or len(raw) <= _NONCE_BYTES:
            return None
        try:
            return AESGCM(kek).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _LABEL)
        except InvalidTag:
            return None
