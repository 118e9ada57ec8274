"""A node's identity on disk: key and certificate in one file that is replaced atomically, and the root beside it.

    <state>/certificates/swarm-node.pem      header lines, private key, certificate   0600
    <state>/certificates/swarm-root-ca.crt   the root that this node trusts           0600

Key and certificate share a file because a crash between two files would leave a node with a certificate for
another key. Header lines (`name: value`, such as `kek-version`) stand before the first PEM block, where OpenSSL
does not look. With a key-encrypting key (autolock) the private key is an encrypted PKCS#8 block.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from pki.identity import Identity, identity_of
from pki.keys import PrivateKey, dump_key, load_key
from pki.root import issued_by, load_certificate
from swarmcore.errors import FailedPrecondition, Invalid, NotInSwarm, Unauthenticated
from swarmcore.files import private_directory, remove_durably, write_atomically
from swarmcore.model.node import NodeRole
from swarmcore.text.patterns import Pattern

NODE_FILE = "swarm-node.pem"
ROOT_FILE = "swarm-root-ca.crt"
KEK_VERSION = "kek-version"
_HEADER = Pattern(r"([a-z0-9-]+): ([^\r\n]*)", 1024)


class _Held(Struct, frozen=True, kw_only=True):
    key: PrivateKey
    certificate: x509.Certificate
    identity: Identity
    root_pem: bytes
    headers: Mapping[str, str]


class KeyStore:
    """`load` reads what is on disk; `save` replaces it. What is in memory is always what is on disk.

    The properties raise NotInSwarm while the node has no certificate.
    """

    def __init__(self, directory: Path, kek: bytes | None = None) -> None:
        self.directory = directory
        self._kek = kek
        self._now: _Held | None = None

    @property
    def node_file(self) -> Path:
        return self.directory / NODE_FILE

    @property
    def root_file(self) -> Path:
        return self.directory / ROOT_FILE

    @property
    def kek(self) -> bytes | None:
        return self._kek

    @property
    def loaded(self) -> bool:
        return self._now is not None

    def load(self) -> bool:
        """True if this node has a certificate. Raises Locked, or FailedPrecondition for damaged files."""
        try:
            root_pem = self.root_file.read_bytes()
            text = self.node_file.read_bytes()
        except FileNotFoundError:
            self._now = None
            return False
        hint = 'restore the file from a backup, or "pyswarm leave --force" and join again'
        try:
            self._now = self._check(load_key(text, self._kek), text, root_pem, _headers(text))
        except (Invalid, Unauthenticated) as error:
            raise FailedPrecondition(
                f"the node's certificate {self.node_file} is unusable: {error}", hint
            ) from error
        return True

    def save(self, key: PrivateKey, cert_pem: bytes, root_pem: bytes) -> None:
        """Check that the three belong together, then make them durable. Raises Invalid and writes nothing if not."""
        held = self._check(key, cert_pem, root_pem, self._now.headers if self._now else {})
        private_directory(self.directory)
        if self._now is None or self._now.root_pem != root_pem:
            write_atomically(self.root_file, root_pem, durable=True)
        self._write(held, self._kek)
        self._now = held

    def change_kek(self, kek: bytes | None, version: int) -> None:
        """Write the key again under another key-encrypting key (None: in the clear)."""
        held = self._held
        headers = {**held.headers, KEK_VERSION: str(version)}
        held = _Held(
            key=held.key,
            certificate=held.certificate,
            identity=held.identity,
            root_pem=held.root_pem,
            headers=headers,
        )
        self._write(held, kek)
        self._kek, self._now = kek, held

    def forget(self) -> None:
        """The node leaves its swarm: key first, for without it the rest is worth nothing."""
        remove_durably(self.node_file)
        remove_durably(self.root_file)
        self._now = None

    def _write(self, held: _Held, kek: bytes | None) -> None:
        lines = "".join(f"{name}: {value}\n" for name, value in sorted(held.headers.items()))
        certificate = held.certificate.public_bytes(Encoding.PEM)
        content = lines.encode() + dump_key(held.key, kek) + certificate
        write_atomically(self.node_file, content, durable=True)

    @staticmethod
    def _check(key: PrivateKey, cert_pem: bytes, root_pem: bytes, headers: Mapping[str, str]) -> _Held:
        certificate, root = load_certificate(cert_pem), load_certificate(root_pem)
        if _spki(certificate) != key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        ):
            raise Invalid("the certificate is for another key")
        if not issued_by(certificate, root):
            raise Invalid("the certificate is not signed by the swarm's root")
        identity = identity_of(certificate)
        return _Held(key=key, certificate=certificate, identity=identity, root_pem=root_pem, headers=headers)

    @property
    def _held(self) -> _Held:
        if self._now is None:
            raise NotInSwarm("this node has no certificate: it is not part of a swarm")
        return self._now

    @property
    def identity(self) -> Identity:
        return self._held.identity

    @property
    def node_id(self) -> str:
        return self._held.identity.node_id

    @property
    def role(self) -> NodeRole:
        return self._held.identity.role

    @property
    def cluster_id(self) -> str:
        return self._held.identity.cluster_id

    @property
    def not_before(self) -> datetime:
        return self._held.identity.not_before

    @property
    def not_after(self) -> datetime:
        return self._held.identity.not_after

    @property
    def root_pem(self) -> bytes:
        return self._held.root_pem

    @property
    def cert_pem(self) -> bytes:
        return self._held.certificate.public_bytes(Encoding.PEM)

    @property
    def certificate(self) -> x509.Certificate:
        return self._held.certificate

    @property
    def kek_version(self) -> int:
        return int(self._held.headers.get(KEK_VERSION, "0"))


def _headers(text: bytes) -> dict[str, str]:
    head = text.partition(b"-----BEGIN")[0].decode("ascii", "replace")
    matches = (_HEADER.fullmatch(line) for line in head.splitlines())
    return {match[1]: match[2] for match in matches if match}


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
