"""The resolv.conf of a container that the swarm's name server does not serve. Pure text."""

from __future__ import annotations

from swarmcore.model.container import DNSConfig


def resolv_conf(wanted: DNSConfig | None, host_text: str) -> str:
    """The host's settings with what the plan sets in their place."""
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
