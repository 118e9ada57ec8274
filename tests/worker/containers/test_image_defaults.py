"""What runs in a container by its plan and its image."""

from __future__ import annotations

import signal

import pytest

from swarmcore.errors import Invalid
from swarmcore.model.container import ContainerSpec
from tests.worker.sample import plan
from worker.containers.image_defaults import command, environment, stop_signal
from worker.images.oci import RunConfig


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (ContainerSpec(), ["run", "me"]),
        (ContainerSpec(args=("x",)), ["run", "x"]),
        (ContainerSpec(command=("own",)), ["own"]),
        (ContainerSpec(command=("own",), args=("x", "y")), ["own", "x", "y"]),
    ],
    ids=["image", "arguments replace", "entrypoint drops the image's arguments", "both"],
)
def test_the_command_follows_dockers_rules(spec: ContainerSpec, expected: list[str]) -> None:
    assert command(plan(spec), RunConfig(entrypoint=("run",), cmd=("me",))) == expected


def test_an_empty_command_takes_the_image_s_entrypoint_and_arguments_away() -> None:
    image = RunConfig(entrypoint=("run",), cmd=("me",))
    assert command(plan(ContainerSpec(command=("",), args=("x",))), image) == ["x"]
    with pytest.raises(Invalid, match="no command specified"):
        command(plan(ContainerSpec(command=("",))), image)


def test_no_command_at_all_is_refused() -> None:
    with pytest.raises(Invalid, match="no command specified"):
        command(plan(ContainerSpec(image="empty")), RunConfig())


def test_the_specs_environment_replaces_the_images() -> None:
    found = environment(
        plan(ContainerSpec(env=("A=2", "B=", "GONE"), tty=True)),
        RunConfig(env=("A=1", "GONE=x", "PATH=/p")),
        "h",
        "/root",
    )
    assert found == ["PATH=/p", "HOSTNAME=h", "TERM=xterm", "A=2", "B=", "HOME=/root"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 15), ("SIGUSR1", 10), ("int", 2), ("9", 9), ("SIGRTMIN+3", signal.SIGRTMIN + 3)],
)
def test_stop_signals_are_read_as_docker_reads_them(text: str, number: int) -> None:
    assert int(stop_signal(plan(ContainerSpec(stop_signal=text)), RunConfig())) == number


@pytest.mark.parametrize("text", ["SIGNOPE", "0", "99", "RTMIN+99"])
def test_unknown_stop_signals_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid stop signal"):
        stop_signal(plan(ContainerSpec(stop_signal=text)), RunConfig())


def test_the_images_stop_signal_counts_where_the_spec_has_none() -> None:
    assert int(stop_signal(plan(ContainerSpec()), RunConfig(stop_signal="SIGQUIT"))) == 3
