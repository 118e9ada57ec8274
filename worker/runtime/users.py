"""Who a container runs as: Docker's rules for `user[:group]` against the image's passwd and group files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from swarmcore.errors import Invalid
from swarmcore.text.numbers import whole

LARGEST_ID = 2**31 - 1


class User(Struct, frozen=True, kw_only=True):
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def _fields(text: str, count: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        fields = line.split(":")
        if not line.startswith("#") and len(fields) >= count:
            yield fields


def _number(text: str) -> int | None:
    return whole(text, LARGEST_ID)


def _group(name: str, group_file: str) -> int:
    for fields in _fields(group_file, 3):
        if fields[0] == name and (gid := _number(fields[2])) is not None:
            return gid
    if (gid := _number(name)) is not None:
        return gid
    raise Invalid(f"unable to find group {name}: no matching entries in the image's group file")


def look_up(wanted: str, extra_groups: Sequence[str], passwd_file: str, group_file: str) -> User:
    """`wanted` is empty (root), a name or number, with an optional group after a colon."""
    name, _, group = wanted.partition(":")
    login, uid, gid, home = "", 0, 0, "/"
    number = 0 if not name else _number(name)
    for fields in _fields(passwd_file, 6):
        found = _number(fields[2])
        if found is not None and (fields[0] == name or (number is not None and found == number)):
            login, uid, gid, home = fields[0], found, _number(fields[3]) or 0, fields[5] or "/"
            break
    else:
        if number is None:
            raise Invalid(f"unable to find user {name}: no matching entries in the image's passwd file")
        uid = number
    more = {_group(extra, group_file) for extra in extra_groups}
    if group:
        gid = _group(group, group_file)
    elif login:
        for fields in _fields(group_file, 4):
            member_of = _number(fields[2])
            if member_of is not None and login in fields[3].split(","):
                more.add(member_of)
    # The primary group counts among the others too: a program may drop it as primary and must not gain by that.
    return User(uid=uid, gid=gid, groups=tuple(sorted(more | {gid})), home=home)
