"""Names that containers have on networks beside their own: as DNS knows them."""

from __future__ import annotations

from collections.abc import Iterable

from swarmcore.errors import Invalid
from swarmcore.text.patterns import Pattern

# Compose files hold names such as _db and db.local; labels have at most 63 characters, names 253 (RFC 1035, 2.3.4).
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = Pattern(rf"{_LABEL}(?:\.{_LABEL})*", 253)


def is_dns_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def check_aliases(network: str, aliases: Iterable[str]) -> None:
    for alias in aliases:
        if not is_dns_name(alias):
            raise Invalid(
                f"invalid alias {alias!r} on network {network}", "an alias is a name as DNS knows them"
            )
