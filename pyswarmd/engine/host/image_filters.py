"""`filters` of GET /images/json: which images a list shows, and under which of their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from pyswarmd.engine.door.filters import Filters, moment
from pyswarmd.engine.door.patterns import matches
from pyswarmd.engine.host.parts import Images
from swarmcore.errors import Invalid
from swarmcore.text.labels import has_label
from worker.images.index import Image

KNOWN = ("before", "dangling", "label", "reference", "since", "until")
_BOOLEANS = {"1": True, "true": True, "0": False, "false": False}


class Listed(Struct, frozen=True):
    """An image and those of its names and digests that were asked for."""

    image: Image
    names: tuple[str, ...]
    digests: tuple[str, ...]


def listed(store: Images, wanted: Filters, now: datetime) -> Iterator[Listed]:
    """In the store's order. NotFound if `before` or `since` name an image that is not here."""
    dangling = _dangling(wanted.get("dangling", []))
    before = [made(store.get(text)) for text in wanted.get("before", [])]
    since = [made(store.get(text)) for text in wanted.get("since", [])]
    until = moment(wanted.get("until", []), now)
    patterns = wanted.get("reference", [])
    for image in store.list():
        age = made(image)
        if any(age >= other for other in before) or any(age <= other for other in since):
            continue
        if until is not None and age > until:
            continue
        if dangling is not None and (not image.names and not image.digests) is not dangling:
            continue
        if (labels := wanted.get("label")) and not has_label(store.config(image).run.labels or {}, labels):
            continue
        names, digests = _fitting(image.names, patterns), _fitting(image.digests, patterns)
        if not patterns or names or digests:
            yield Listed(image, names, digests)


def made(image: Image) -> datetime:
    return image.created or image.loaded


def _fitting(references: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Those of the references that fit a pattern, whole or without tag and digest."""
    return tuple(
        text for text in references if not patterns or any(_fits(text, pattern) for pattern in patterns)
    )


def _fits(reference: str, pattern: str) -> bool:
    repository = reference.partition("@")[0]
    if ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    return matches(pattern, reference) or matches(pattern, repository)


def _dangling(values: Sequence[str]) -> bool | None:
    if not values:
        return None
    found = {_BOOLEANS.get(value.lower()) for value in values}
    if len(found) > 1 or None in found:
        raise Invalid(f"invalid filter 'dangling=[{' '.join(values)}]'", "use true or false")
    return found.pop()
