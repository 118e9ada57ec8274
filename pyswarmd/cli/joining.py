"""`--network` of services, names of hosts and DNS settings: what people type, and how updates change it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from swarmcore.errors import Invalid, clipped

Attachment = dict[str, Any]


def attachment(text: str) -> Attachment:
    """`shop`, or `name=shop,alias=db,driver-opt=key=value` (docker/cli opts/network.go)."""
    if "=" not in text:
        if not text:
            raise Invalid("invalid network ''", "name a network")
        return {"Target": text}
    target, aliases, options = "", [], {}
    for item in text.split(","):
        key, sign, value = item.strip().partition("=")
        match key.lower():
            case "name" if value:
                target = value
            case "alias" if value:
                aliases.append(value)
            case "driver-opt" if value:
                name, _, setting = value.partition("=")
                options[name] = setting
            case _ if sign and key.lower() in ("name", "alias", "driver-opt"):
                raise Invalid(f"network {text!r}: {key} has no value", "write it like name=shop,alias=db")
            case _:
                raise Invalid(f"network option {key!r} is not known", "known are alias, driver-opt, name")
    if not target:
        raise Invalid(f"network {text!r} has no name", "write it like name=shop,alias=db")
    found: Attachment = {"Target": target}
    return found | ({"Aliases": aliases} if aliases else {}) | ({"DriverOpts": options} if options else {})


def host(text: str) -> str:
    """`NAME:ADDRESS` as a line of /etc/hosts."""
    name, colon, address = text.partition(":")
    address = address.removeprefix("[").removesuffix("]")  # docker's way to write an IPv6 address
    if not colon or not name or not address:
        raise Invalid(f"invalid host {clipped(text)}", "write it like NAME:ADDRESS")
    return f"{address} {name}"


def edited_hosts(old: Iterable[str], added: Sequence[str], removed: Sequence[str]) -> list[str]:
    """`removed` are names, with or without their address."""

    def goes(line: str) -> bool:
        address, *names = line.split() or [""]
        return any(text in names or (":" in text and line == host(text)) for text in removed) or any(
            f"{name}:{address}" in removed for name in names
        )

    kept = [line for line in old if not goes(line)]
    return kept + [line for line in map(host, added) if line not in kept]


def dns(nameservers: Sequence[str], search: Sequence[str], options: Sequence[str]) -> dict[str, list[str]]:
    given = {"Nameservers": list(nameservers), "Search": list(search), "Options": list(options)}
    return {field: values for field, values in given.items() if values}


def without(old: Iterable[str] | None, added: Sequence[str], removed: Sequence[str]) -> list[str]:
    """The list without the removed items, and with the added ones that it does not hold."""
    kept = [item for item in old or [] if item not in removed]
    return kept + [item for item in dict.fromkeys(added) if item not in kept]


def edited_networks(
    old: Iterable[Attachment], added: Sequence[str], removed: Sequence[str], id_of: Callable[[str], str]
) -> list[Attachment]:
    """Attachments by id. Removing what is not there is no fault, joining a network twice is."""
    gone = {id_of(name) for name in removed}
    kept = [one for one in old if one.get("Target") not in gone]
    for new in map(attachment, added):
        name = new["Target"]
        new = {**new, "Target": id_of(name)}
        if any(one.get("Target") == new["Target"] for one in kept):
            raise Invalid(
                f"service is already attached to network {name}", "remove it with --network-rm first"
            )
        kept.append(new)
    return kept
