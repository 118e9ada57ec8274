from __future__ import annotations

from pyswarmd.cli.doctor import _info
from pyswarmd.doctor import Finding, of_daemon

PURPOSE = "this node's part in the swarm"


def test_what_a_running_daemon_is_in_trouble_with_is_shown() -> None:
    clock = "this host's clock is about 24 hours behind those of the managers"
    info = {"Swarm": {"Error": f"clock: {clock}; worker database: No space left on device"}}
    assert list(of_daemon(info)) == [
        Finding(name="clock", state="in trouble", purpose=PURPOSE, detail=clock),
        Finding(
            name="worker database", state="in trouble", purpose=PURPOSE, detail="No space left on device"
        ),
    ]
    (told,) = of_daemon({"Swarm": {"Error": "this manager stopped"}})
    assert (told.name, told.detail) == ("daemon", "this manager stopped")


async def test_the_doctor_needs_no_daemon() -> None:
    assert list(of_daemon(await _info("unix:///nowhere/pyswarm.sock"))) == []
    assert list(of_daemon({"Swarm": {"Error": ""}})) == []
