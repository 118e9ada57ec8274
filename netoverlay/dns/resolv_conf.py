"""resolv.conf(5): the host's is read, the container's is written, and both give how it resolves. Pure text."""

from __future__ import annotations

from ipaddress import ip_address

from msgspec import Struct

from netoverlay.containers.sandboxes import Resolving
from swarmcore.model.container import DNSConfig
from swarmcore.text.numbers import whole

ADDRESS = "127.0.0.11"  # of the name server, in every container
_MOST_DOTS = 2**31 - 1  # the C library takes what is above 15 for 15
MAX_UPSTREAMS = 3  # as the C library, and Docker


class ResolvConf(Struct, frozen=True, kw_only=True):
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse(text: str) -> ResolvConf:
    """What the C library would understand: comments begin a line, the last `search` or `domain` counts."""
    servers: dict[str, None] = {}
    search: tuple[str, ...] = ()
    options: dict[str, None] = {}
    for line in text.splitlines():
        if line.startswith(("#", ";")) or not (words := line.split()):
            continue
        keyword, *values = words
        if keyword == "nameserver" and values and _is_address(values[0]):
            servers[values[0]] = None
        elif keyword == "search":
            search = tuple(values)
        elif keyword == "domain" and values:
            search = (values[0],)
        elif keyword == "options":
            options.update(dict.fromkeys(values))
    return ResolvConf(nameservers=tuple(servers), search=search, options=tuple(options))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def effective(wanted: DNSConfig | None, host: ResolvConf) -> ResolvConf:
    """What the service asks for, and the host's where it asks for nothing. `--dns-search .` means no domain."""
    wanted = wanted or DNSConfig()
    search = tuple(wanted.search) or host.search
    return ResolvConf(
        nameservers=tuple(wanted.nameservers) or host.nameservers,
        search=() if search == (".",) else search,
        options=tuple(wanted.options) or host.options,
    )


def resolving(wanted: DNSConfig | None, host: ResolvConf) -> Resolving:
    """Servers of `--dns` are asked from the container, which may be the only one that reaches them; the host's
    from the host, where alone 127.0.0.53 and link-local addresses mean what they say.
    """
    chosen = effective(wanted, host)
    upstreams = tuple(server for server in chosen.nameservers if _is_address(server))[:MAX_UPSTREAMS]
    given = wanted is not None and bool(wanted.nameservers)
    return Resolving(
        upstreams=upstreams,
        from_host=() if given else upstreams,
        search=chosen.search,
        ndots=_ndots(chosen.options) or 0,
    )


def container_text(wanted: DNSConfig | None, host: ResolvConf) -> str:
    """The container's /etc/resolv.conf.

    ndots:0 unless somebody set it: names of the swarm have no dots, and with the usual 1 each of them would be
    asked for in every search domain first.
    """
    chosen = effective(wanted, host)
    options = chosen.options
    if _ndots(options) is None:
        options = (*options, "ndots:0")
    lines = [f"nameserver {ADDRESS}"]
    if chosen.search:
        lines.append("search " + " ".join(chosen.search))
    lines.append("options " + " ".join(options))
    return "".join(f"{line}\n" for line in lines)


def _ndots(options: tuple[str, ...]) -> int | None:
    """The last one counts; None where it is not set, or not a number."""
    values = [option.removeprefix("ndots:") for option in options if option.startswith("ndots:")]
    return whole(values[-1], _MOST_DOTS) if values else None
