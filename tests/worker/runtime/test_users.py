"""Users and groups of containers, looked up in the image."""

from __future__ import annotations

import pytest

from swarmcore.errors import Invalid
from worker.runtime.users import User, look_up

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/sh\nbroken\n"


GROUP = "root:x:0:\nweb:x:34:\nlogs:x:50:web,other\n"


@pytest.mark.parametrize(
    ("wanted", "groups", "expected"),
    [
        ("", (), User(uid=0, gid=0, groups=(0,), home="/root")),
        ("web", (), User(uid=33, gid=34, groups=(34, 50), home="/srv")),
        ("33", (), User(uid=33, gid=34, groups=(34, 50), home="/srv")),
        ("web:root", (), User(uid=33, gid=0, groups=(0,), home="/srv")),
        ("1000:1001", ("logs", "7"), User(uid=1000, gid=1001, groups=(7, 50, 1001), home="/")),
        ("1000", (), User(uid=1000, gid=0, groups=(0,), home="/")),
    ],
)
def test_users_are_looked_up_in_the_image(wanted: str, groups: tuple[str, ...], expected: User) -> None:
    assert look_up(wanted, groups, PASSWD, GROUP) == expected


@pytest.mark.parametrize("wanted", ["ghost", "web:ghosts", "99999999999"])
def test_unknown_users_and_groups_are_refused(wanted: str) -> None:
    with pytest.raises(Invalid, match="unable to find"):
        look_up(wanted, (), PASSWD, GROUP)
