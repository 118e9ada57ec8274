"""The files of a container's /etc that the engine writes: hosts, hostname, resolv.conf. Pure text."""

from __future__ import annotations

from collections.abc import Sequence

from swarmcore.model.container import DNSConfig

_LOCAL = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "ff00::0\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)


def hosts(extra: Sequence[str], hostname: str, address: str = "127.0.0.1") -> str:
    """`extra` has lines `IP name…`, as services store them; the container's own name is at `address`."""
    lines = [*_LOCAL, f"{address}\t{hostname}"]
    for entry in extra:
        address, *names = entry.split() or [""]
        if names:  # as Docker: a line without a name says nothing
            lines.append(f"{address}\t{' '.join(names)}")
    return "\n".join(lines) + "\n"


def resolv_conf(wanted: DNSConfig | None, host_text: str) -> str:
    """The host's settings with what the spec sets in their place."""
    wanted = wanted or DNSConfig()
    given = {
        "nameserver": list(wanted.nameservers),
        "search": [" ".join(wanted.search)] if wanted.search else [],
        "options": [" ".join(wanted.options)] if wanted.options else [],
    }
    lines = [
        line
        for line in host_text.splitlines()
        if (words := line.split()) and words[0] in given and not given[words[0]]
    ]
    lines += [f"{key} {value}" for key, values in given.items() for value in values]
    return "".join(f"{line}\n" for line in lines)
