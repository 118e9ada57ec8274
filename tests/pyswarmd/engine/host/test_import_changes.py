"""Dockerfile instructions of `image import --change`."""

from __future__ import annotations

import pytest

from pyswarmd.engine.host.import_changes import run_config
from swarmcore.errors import Invalid
from worker.images.oci import RunConfig


def test_no_changes_is_an_empty_config() -> None:
    assert run_config(["\n  \n"]) == RunConfig()


def test_every_instruction() -> None:
    config = run_config(
        [
            """CMD ["/app", "-x"]
        entrypoint /bin/start --fast
        ENV A=1 B="two words"
        ENV OLD style value
        LABEL org.x=y
        EXPOSE 80 53/udp
        VOLUME /data /more
        VOLUME ["/with space"]
        USER nobody:nogroup
        WORKDIR /srv
        STOPSIGNAL SIGQUIT"""
        ]
    )
    assert config == RunConfig(
        cmd=("/app", "-x"),
        entrypoint=("/bin/sh", "-c", "/bin/start --fast"),
        env=("A=1", "B=two words", "OLD=style value"),
        labels={"org.x": "y"},
        exposed_ports={"80/tcp": {}, "53/udp": {}},
        volumes={"/data": {}, "/more": {}, "/with space": {}},
        user="nobody:nogroup",
        working_dir="/srv",
        stop_signal="SIGQUIT",
    )


@pytest.mark.parametrize(
    "change",
    ["RUN rm -rf /", "COPY a b", "CMD", "USER ", 'CMD ["/app"', "CMD [1]", "ENV 'x", "ENV A=1 B", "LABEL =x"],
)
def test_what_is_not_understood_is_refused(change: str) -> None:
    with pytest.raises(Invalid):
        run_config([change])


def test_several_changes_are_all_made() -> None:
    """docker import -c … -c … sends each as a query parameter of its own."""
    config = run_config(['CMD ["/app"]', "ENV A=1", "ENV B=2\nUSER 5"])
    assert config == RunConfig(cmd=("/app",), env=("A=1", "B=2"), user="5")
