"""The kernel's IPsec state of one host: brought to what `plan` wants, and no more of it than is ours. Blocking."""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from collections.abc import Iterator

from netoverlay.ipsec import messages
from netoverlay.ipsec.plan import Association, Policy, Protection, RingKey, association
from swarmcore.errors import FailedPrecondition

log = logging.getLogger(__name__)
_XFRM = 6  # NETLINK_XFRM
_REQUEST, _ACK, _DUMP, _REPLACE, _CREATE, _EXCLUSIVE = 1, 4, 0x300, 0x100, 0x400, 0x200
_ERROR, _DONE = 2, 3
_BUFFER = 1 << 17
_MISSING = frozenset(
    {errno.ENOSYS, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.ENOENT, errno.EAFNOSUPPORT}
)
HINT = 'load the kernel modules esp4, esp6 and gcm; see "pyswarm doctor"'


class Xfrm:
    """`make_socket` opens a NETLINK_XFRM socket in the host's namespace."""

    def __init__(self, netlink: socket.socket) -> None:
        netlink.settimeout(5.0)
        self._socket = netlink
        self._sequence = 0
        self._wanted = Protection()

    @staticmethod
    def open() -> socket.socket:
        """A socket of the calling thread's namespace. FailedPrecondition where the kernel has no IPsec at all."""
        try:
            return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _XFRM)
        except OSError as error:
            raise FailedPrecondition(f"this host's kernel has no IPsec: {error.strerror}", HINT) from None

    def close(self) -> None:
        self._socket.close()

    def unsupported(self) -> str:
        """Why this kernel cannot encrypt overlays; empty if it can. Tried with an association that nobody uses."""
        probe = association("127.0.0.1", "127.255.255.254", RingKey(tag=0, secret=os.urandom(20)))
        try:
            self._ask(messages.NEWSA, messages.add_association(probe), _CREATE | _EXCLUSIVE)
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            return f"this host's kernel has no ESP with AES-GCM ({error.strerror})"
        self._delete(probe)
        return ""

    # -- converging --------------------------------------------------------------------------------
    def converge(self, wanted: Protection) -> None:
        """From the last wanted state to this one: new associations first, old ones last, so that nothing is lost."""
        before, self._wanted = self._wanted, wanted
        self._move(before, wanted)

    def reconcile(self) -> int:
        """Compare the kernel with the wanted state and mend it; how many differences there were."""
        ours = Protection(associations=frozenset(self._associations()), policies=frozenset(self._policies()))
        found = len(ours.associations ^ self._wanted.associations) + len(
            ours.policies ^ self._wanted.policies
        )
        if found:
            self._move(ours, self._wanted)
        return found

    def _move(self, before: Protection, after: Protection) -> None:
        for gone in before.associations - after.associations:
            if any(gone.spi == new.spi and gone.target == new.target for new in after.associations):
                self._delete(gone)  # the same number under another key
        for new in after.associations - before.associations:
            self._tolerant(messages.NEWSA, messages.add_association(new), errno.EEXIST, _CREATE | _EXCLUSIVE)
        for policy in after.policies - before.policies:
            self._ask(messages.UPDPOLICY, messages.add_policy(policy), _CREATE | _REPLACE)
        kept = {(policy.source, policy.target, policy.port) for policy in after.policies}
        for policy in before.policies - after.policies:
            if (policy.source, policy.target, policy.port) not in kept:
                self._tolerant(messages.DELPOLICY, messages.delete_policy(policy), errno.ENOENT)
        for gone in before.associations - after.associations:
            self._delete(gone)

    def _delete(self, gone: Association) -> None:
        body = messages.delete_association(gone.source, gone.target, gone.spi)
        self._tolerant(messages.DELSA, body, errno.ESRCH)

    def _tolerant(self, kind: int, body: bytes, expected: int, flags: int = 0) -> None:
        try:
            self._ask(kind, body, flags)
        except OSError as error:
            if error.errno != expected:
                raise

    # -- netlink -----------------------------------------------------------------------------------
    def _send(self, kind: int, body: bytes, flags: int) -> int:
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, self._sequence, 0)
        self._socket.sendto(header + body, (0, 0))
        return self._sequence

    def _ask(self, kind: int, body: bytes, flags: int) -> None:
        sequence = self._send(kind, body, flags | _ACK)
        for answer, number, data in self._answers():
            if number == sequence and answer == _ERROR:
                code = -struct.unpack_from("=i", data)[0]
                if code:
                    raise OSError(code, os.strerror(code))
                return

    def _dump(self, kind: int) -> Iterator[bytes]:
        sequence = self._send(kind, b"", _DUMP)
        for answer, number, data in self._answers():
            if number != sequence:
                continue
            if answer == _DONE:
                return
            if answer == _ERROR:
                code = -struct.unpack_from("=i", data)[0]
                raise OSError(code, os.strerror(code))
            yield data

    def _answers(self) -> Iterator[tuple[int, int, bytes]]:
        while True:
            data = self._socket.recv(_BUFFER)
            while len(data) >= 16:
                length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data)
                yield kind, sequence, data[16:length]
                data = data[(length + 3) & ~3 :]

    def _associations(self) -> Iterator[Association]:
        for body in self._dump(messages.GETSA):
            if (found := messages.read_association(body)) is not None:
                yield found

    def _policies(self) -> Iterator[Policy]:
        for body in self._dump(messages.GETPOLICY):
            if (found := messages.read_policy(body)) is not None:
                yield found
