"""The form of raft's files: a header, then frames sealed with AES-256-GCM that cannot be moved, altered or reordered.

    header  magic(8) version(4) number(8) key id(16) salt(16) crc32(4)
    frame   marker(4) length(4) crc32 of the body(4) crc32 of the twelve bytes before(4) body(length) end(1)

Each file has its own key, derived from the data key and the header's salt, so a counter serves as nonce. A body is
authenticated together with its header and its length. The checksums protect nobody: they tell a write that a crash
cut short from an attack, for an attacker makes them match and then fails the authentication.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Callable, Iterator
from zlib import crc32

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from manager.raft.interfaces import CorruptState
from pki.seal import DataKeys

RandomBytes = Callable[[int], bytes]
random_bytes: RandomBytes = secrets.token_bytes

VERSION = 1
_HEADER = struct.Struct("<8sIQ16s16s")
_FRAME = struct.Struct("<4sII")
_CRC = struct.Struct("<I")
_MARKER = b"\xf5Psw"
_END = b"\xa5"  # not zero, so that a frame whose last byte reads as zero was not written to its end
TAG_BYTES = 16
_SECTOR = 512  # what a disk writes whole or not at all
HEADER_BYTES = _HEADER.size + _CRC.size
_HEAD_BYTES = _FRAME.size + _CRC.size
#: What a frame adds to the size of its plain data.
OVERHEAD = _HEAD_BYTES + TAG_BYTES + len(_END)


class Keyring:
    """The data keys by the id that headers name them with."""

    def __init__(self, keys: DataKeys) -> None:
        self._keys = {_key_id(key): key for key in (*keys.older, keys.current)}
        self.current = _key_id(keys.current)

    def cipher(self, magic: bytes, key_id: bytes, salt: bytes) -> AESGCM | None:
        key = self._keys.get(key_id)
        if key is None:
            return None
        return AESGCM(HKDF(hashes.SHA256(), 32, salt, b"pyswarm raft " + magic).derive(key))


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"pyswarm raft key id" + key).digest()[:16]


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "little")


class Sealer:
    """Makes one file's header and frames, in order; `size` is what they take."""

    def __init__(self, keyring: Keyring, magic: bytes, number: int, random: RandomBytes) -> None:
        salt = random(16)
        header = _HEADER.pack(magic, VERSION, number, keyring.current, salt)
        cipher = keyring.cipher(magic, keyring.current, salt)
        assert cipher is not None
        self._cipher = cipher
        self.header = header + _CRC.pack(crc32(header))
        self.size = HEADER_BYTES
        self._counter = 0

    def seal(self, plain: bytes) -> bytes:
        length = len(plain) + TAG_BYTES
        body = self._cipher.encrypt(_nonce(self._counter), plain, self.header + _CRC.pack(length))
        self._counter += 1
        head = _FRAME.pack(_MARKER, length, crc32(body))
        self.size += len(plain) + OVERHEAD
        return b"".join((head, _CRC.pack(crc32(head)), body, _END))


class Opener:
    """Reads what a Sealer wrote; every error names the file and the place."""

    def __init__(self, keyring: Keyring, magic: bytes, name: str, header: bytes) -> None:
        self._name = name
        self._header = header[:HEADER_BYTES]
        if len(header) < HEADER_BYTES or _CRC.unpack_from(header, _HEADER.size)[0] != crc32(
            header[: _HEADER.size]
        ):
            raise self.corrupt("its header is damaged")
        found, version, self.number, self.key_id, salt = _HEADER.unpack_from(header)
        if found != magic:
            raise self.corrupt("it is a file of another kind")
        if version != VERSION:
            raise self.corrupt(f"it has format version {version}, this program reads version {VERSION}")
        cipher = keyring.cipher(magic, self.key_id, salt)
        if cipher is None:
            raise self.corrupt("it is sealed with a data key that this node does not have")
        self._cipher = cipher

    def corrupt(self, why: str) -> CorruptState:
        return CorruptState(f"raft's file {self._name} is not what was written: {why}")

    def frames(self, data: bytes) -> Iterator[bytes]:
        """The plain data of every frame of the whole file `data`; a torn last frame ends it silently.

        Every frame is synced before the next one is written, so only the very last can be torn. It is then
        shorter than it says, or has a sector that was never written and reads as zeros. Anything else is damage.
        """
        offset, counter = HEADER_BYTES, 0
        while offset < len(data):
            end = _frame_end(data, offset)
            if end is None:
                if _is_torn(data, offset):
                    return
                raise self.corrupt(f"frame {counter} at byte {offset} is damaged")
            yield self.open_body(counter, data[offset + _HEAD_BYTES : end - len(_END)])
            offset, counter = end, counter + 1

    def open_frame(self, counter: int, frame: bytes) -> bytes:
        """One frame, read on its own."""
        if _frame_end(frame, 0) != len(frame):
            raise self.corrupt(f"frame {counter} is damaged")
        return self.open_body(counter, frame[_HEAD_BYTES : -len(_END)])

    def open_body(self, counter: int, body: bytes) -> bytes:
        try:
            return self._cipher.decrypt(_nonce(counter), body, self._header + _CRC.pack(len(body)))
        except InvalidTag:
            raise self.corrupt(f"frame {counter} was altered") from None


def _length(data: bytes, offset: int) -> int | None:
    """The body's length as the frame's head says; None if the head is incomplete or damaged."""
    if offset + _HEAD_BYTES > len(data):
        return None
    marker, length, _ = _FRAME.unpack_from(data, offset)
    (check,) = _CRC.unpack_from(data, offset + _FRAME.size)
    good = marker == _MARKER and check == crc32(data[offset : offset + _FRAME.size]) and length >= TAG_BYTES
    return int(length) if good else None


def _frame_end(data: bytes, offset: int) -> int | None:
    """Where the frame at `offset` ends; None if it is not whole."""
    length = _length(data, offset)
    if length is None:
        return None
    start = offset + _HEAD_BYTES
    end = start + length
    if data[end : end + len(_END)] != _END:
        return None
    _, _, check = _FRAME.unpack_from(data, offset)
    return end + len(_END) if crc32(memoryview(data)[start:end]) == check else None


def _is_torn(data: bytes, offset: int) -> bool:
    """Is what begins at `offset` a last write that a crash cut short?"""
    after = data.find(_MARKER, offset + 1)
    while after >= 0:
        if _frame_end(data, after) is not None:
            return False  # something whole follows: this one had been synced
        after = data.find(_MARKER, after + 1)
    length = _length(data, offset)
    if length is None:
        if len(data) - offset < _HEAD_BYTES:
            return True
    elif len(data) != (end := offset + _HEAD_BYTES + length + len(_END)):
        return len(data) < end
    return data[-1] == 0 or _has_unwritten_sector(data, offset)


def _has_unwritten_sector(data: bytes, offset: int) -> bool:
    for start in range(offset - offset % _SECTOR, len(data), _SECTOR):
        sector = data[max(start, offset) : start + _SECTOR]
        if sector.count(0) == len(sector):
            return True
    return False
