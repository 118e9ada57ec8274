"""Image references, as swarmcore reads them: managers refuse what this host could not read."""

from __future__ import annotations

from swarmcore.image_reference import DIGEST, Reference, parse, parse_tagged

__all__ = ["DIGEST", "Reference", "parse", "parse_tagged"]
