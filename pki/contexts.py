"""TLS contexts of a node: TLS 1.3 only, trusting the swarm's root and nothing else, reloaded in place on renewal.

A context that gets a new certificate uses it for the next handshake; open connections keep theirs, so a renewal
drops nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from pki.dates import Now, judge_dates
from pki.keys import passphrase
from pki.keystore import KeyStore
from swarmcore.clock import utc_now


def server_context(keystore: KeyStore, now: Now = utc_now) -> ssl.SSLContext:
    """For the listener. A client certificate is optional in TLS (join has none yet); routes decide who needs one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    judge_dates(context, now)
    context.verify_mode = ssl.CERT_OPTIONAL
    # No resumption: a resumed session would skip the check of the certificate's dates.
    context.num_tickets = 0
    _trust(context, keystore.root_pem)
    _present(context, keystore)
    return context


def client_context(keystore: KeyStore, now: Now = utc_now) -> ssl.SSLContext:
    """For calls to managers: the server must have the name `swarm-manager` under the swarm's root."""
    context = pinned_context(keystore.root_pem, now)
    _present(context, keystore)
    return context


def pinned_context(root_pem: bytes, now: Now = utc_now) -> ssl.SSLContext:
    """A client without a certificate that trusts exactly this root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    judge_dates(context, now)
    _trust(context, root_pem)
    return context


def unverified_context() -> ssl.SSLContext:
    """Only for fetching the root certificate, whose digest the join token pins; nothing secret goes over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Contexts:
    """The contexts of one node. Hand out `client_now` and `server`; call `reload` after the keystore was saved.

    Whoever keeps connections open for later calls (RpcClient.refresh) subscribes with `on_reload`: a kept
    connection goes on showing the old certificate, and with it the old role.
    `now` is the clock that certificates end by.
    """

    def __init__(self, keystore: KeyStore, now: Now = utc_now) -> None:
        self._keystore = keystore
        self._root_pem = keystore.root_pem
        self.server = server_context(keystore, now)
        self.client = client_context(keystore, now)
        self._listeners: list[Callable[[], None]] = []

    def on_reload(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def client_now(self) -> ssl.SSLContext:
        return self.client

    def reload(self) -> None:
        if self._keystore.root_pem != self._root_pem:
            for context in (self.server, self.client):
                _trust(context, self._keystore.root_pem)
            self._root_pem = self._keystore.root_pem
        for context in (self.server, self.client):
            _present(context, self._keystore)
        for listener in self._listeners:
            listener()


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT


def _trust(context: ssl.SSLContext, root_pem: bytes) -> None:
    context.load_verify_locations(cadata=root_pem.decode("ascii"))


def _present(context: ssl.SSLContext, keystore: KeyStore) -> None:
    secret = passphrase(keystore.kek)
    # Always a password function: without one OpenSSL would ask on the terminal for a locked key.
    context.load_cert_chain(keystore.node_file, password=lambda: secret)
