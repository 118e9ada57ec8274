"""Image references as Docker writes them: `[domain/]path[:tag][@digest]`, short and full forms."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from swarmcore.errors import Invalid, clipped
from swarmcore.text.patterns import ASCII, Pattern

DEFAULT_DOMAIN = "docker.io"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_MAX_PATH = 255
_PATH = Pattern(rf"{_COMPONENT}(?:/{_COMPONENT})*", _MAX_PATH)
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_DOMAIN = Pattern(rf"(?:{_HOST}(?:\.{_HOST})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?", 260)  # a DNS name and a port
_TAG = Pattern(r"\w[\w.-]{0,127}", 128, ASCII)
DIGEST = Pattern(r"sha256:[0-9a-f]{64}", 71)
_ID = Pattern(r"[0-9a-f]{64}", 64)


class Reference(Struct, frozen=True, kw_only=True, order=True):
    """Always full inside: `busybox` is docker.io/library/busybox; tag and digest may be missing."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def familiar_name(self) -> str:
        """The repository without what Docker leaves out."""
        if self.domain == DEFAULT_DOMAIN:
            return self.path.removeprefix("library/")
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.familiar_name}{tag}{digest}"

    def with_default_tag(self) -> Reference:
        return self if self.tag or self.digest else replace(self, tag="latest")


def parse(text: str) -> Reference:
    """Read a reference; Invalid says what is wrong with it."""

    def wrong(why: str) -> Invalid:
        return Invalid(f"invalid image reference {clipped(text)}: {why}")

    rest, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise wrong("the digest must be sha256: and 64 hexadecimal digits")
    if _ID.fullmatch(rest):
        raise wrong("64 hexadecimal digits are an image id, not a name")
    first, slash, remainder = rest.partition("/")
    if slash and (any(c in first for c in ".:[") or first == "localhost" or first != first.lower()):
        domain, rest = first, remainder
    else:
        domain = DEFAULT_DOMAIN
    path, colon, tag = rest.partition(":")
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if colon and not _TAG.fullmatch(tag):
        raise wrong("the tag may have letters, digits, '_', '.' and '-', at most 128 characters")
    if not _DOMAIN.fullmatch(domain):
        raise wrong("the registry host is malformed")
    if path != path.lower():
        raise wrong("the repository name must be lower case")
    if not _PATH.fullmatch(path):
        raise wrong("the repository name is malformed")
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    return Reference(domain=domain, path=path, tag=tag, digest=digest)


def parse_tagged(text: str) -> Reference:
    """A reference that a tag can be given to: name and tag, no digest."""
    reference = parse(text).with_default_tag()
    if reference.digest:
        raise Invalid(f"invalid image name {clipped(text)}: a name for an image must not carry a digest")
    return reference
