"""Which security associations and policies a host needs, from its peers and the swarm's keys. Pure.

ESP in transport mode (RFC 4303) with AES-GCM (RFC 4106) protects the VXLAN packets of encrypted networks between two
hosts. The swarm has a ring of three keys: everybody receives under all of them and sends under the second newest, so
that a rotation never meets a host that does not know the key yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from ipaddress import ip_address

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

# Marks packets of encrypted networks on their way out; Docker's value.
MARK = 0xD0C4E3
_KEY_BYTES = 16 + 4  # AES-128 and the salt of RFC 4106
_RESERVED_SPIS = 256  # RFC 4303, section 2.1


class RingKey(Struct, frozen=True, kw_only=True):
    """One of the swarm's keys; a larger `tag` is newer."""

    tag: int
    secret: bytes

    def __repr__(self) -> str:
        return f"RingKey(tag={self.tag})"


class Association(Struct, frozen=True, kw_only=True):
    """One direction between two hosts under one key of the ring. `key` is AES key and salt."""

    source: str
    target: str
    spi: int
    key: bytes

    def __repr__(self) -> str:
        return f"Association({self.source} -> {self.target}, spi={self.spi:#x})"


class Policy(Struct, frozen=True, kw_only=True):
    """Marked VXLAN packets from `source` to `target` leave under the association `spi`."""

    source: str
    target: str
    port: int
    spi: int


class Protection(Struct, frozen=True, kw_only=True):
    associations: frozenset[Association] = frozenset()
    policies: frozenset[Policy] = frozenset()


def protection(local: str, peers: Collection[str], keys: Sequence[RingKey], port: int) -> Protection:
    """What the host at `local` needs to speak with `peers`; nothing while there are no keys."""
    if not keys:
        return Protection()
    primary = sending_key(keys)
    received = [association(peer, local, key) for peer in peers for key in keys]
    sent = [association(local, peer, primary) for peer in peers]
    return Protection(
        associations=frozenset([*received, *sent]),
        policies=frozenset(Policy(source=local, target=a.target, port=port, spi=a.spi) for a in sent),
    )


def sending_key(keys: Iterable[RingKey]) -> RingKey:
    """The second newest: every host has had a whole period to learn it."""
    newest_first = sorted(keys, key=lambda key: key.tag, reverse=True)
    return newest_first[min(1, len(newest_first) - 1)]


def association(source: str, target: str, key: RingKey) -> Association:
    """Each direction has a key of its own, derived from the ring's: under one key for all, two hosts could use the
    same nonce, which breaks GCM."""
    context = b"pyswarm esp " + ip_address(source).packed + ip_address(target).packed
    derived = HKDF(SHA256(), _KEY_BYTES, salt=None, info=context).derive(key.secret)
    digest = blake2b(context + key.tag.to_bytes(8, "big"), digest_size=4).digest()
    spi = int.from_bytes(digest, "big") % (2**32 - _RESERVED_SPIS) + _RESERVED_SPIS
    return Association(source=source, target=target, spi=spi, key=derived)
