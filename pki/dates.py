"""Judges the dates of certificates in OpenSSL's stead, by a clock that is an argument.

OpenSSL judges by the host's clock alone: a manager whose clock is set back refuses every new connection, while it
goes on leading over the old ones. Two things differ here. The end of a certificate is judged by the clock that the
majority of the managers agrees on. Its beginning is not judged: only our own root signs, so a certificate that
begins in the future is genuine, and says only that two clocks differ.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime

from cryptography import x509

Now = Callable[[], datetime]
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME; Python has no name for it


def judge_dates(context: ssl.SSLContext, now: Now) -> None:
    """Every handshake with this context fails if the other side's certificate has ended by the clock `now`.

    For contexts of event loops (`wrap_bio`); a plain socket wrapped with it would not be judged.
    """

    class Judged(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            der = self.getpeercert(binary_form=True)
            if der is not None and now() >= x509.load_der_x509_certificate(der).not_valid_after_utc:
                raise _expired()

    context.sslobject_class = Judged
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)


def _expired() -> ssl.SSLCertVerificationError:
    """As OpenSSL would have said it."""
    said = "certificate has expired"
    error = ssl.SSLCertVerificationError(
        ssl.SSL_ERROR_SSL, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {said}"
    )
    error.library, error.reason = "SSL", "CERTIFICATE_VERIFY_FAILED"
    error.verify_message = said
    return error
