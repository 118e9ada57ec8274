"""Placeholders in container specs."""

from __future__ import annotations

import pytest

from swarmcore.errors import Invalid
from swarmcore.model.base import Driver
from swarmcore.model.container import ContainerSpec, Mount, VolumeOptions
from swarmcore.template.container import scope_of
from swarmcore.template.expand import expand
from tests.worker.sample import DESCRIPTION, task
from worker.tasks.template import expand_payload, expand_task

SCOPE = scope_of(task(), DESCRIPTION)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("{{.Service.Name}}-{{.Task.Slot}}", "web-1"),
        ("{{ .Node.Hostname }}", "host1"),
        ("{{.Task.Name}}", "web.1.t1"),
        ("{{.Service.Labels.tier}}", "front"),
        ('{{index .Service.Labels "tier"}}', "front"),
        ("{{index .Service.Labels `none`}}", ""),
        ("{{.Service.Labels.none}}", ""),
        ('a {{- "x" -}} b', "axb"),
        ('{{"a \\"quoted\\" text"}}', 'a "quoted" text'),
        ('{{"}}"}}', "}}"),
        ("a {{- .Service.Name -}} b", "awebb"),
    ],
)
def test_placeholders_are_filled_in(text: str, expanded: str) -> None:
    assert expand(text, SCOPE) == expanded


@pytest.mark.parametrize(
    "text",
    [
        "{{.Service.Nmae}}",
        "{{.Service}}",
        "{{.Service.Name.First}}",
        "{{.Service.Name",
        "{{range .Service.Labels}}",
        "{{.Service.Name | upper}}",
        '{{secret "x"}}',
        "{{__import__}}",
        "{{}}",
        '{{"x}}',
    ],
)
def test_what_cannot_be_filled_in_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="template"):
        expand(text, SCOPE)


def test_env_hostname_and_mounts_of_a_task_are_templates() -> None:
    volume = VolumeOptions(
        labels={"of": "{{.Service.Name}}"}, driver_config=Driver(name="local", options={"o": "{{.Node.ID}}"})
    )
    spec = ContainerSpec(
        image="{{.Service.Name}}",
        hostname="{{.Service.Name}}-{{.Task.Slot}}",
        env=("SLOT={{.Task.Slot}}", "{{.Task.ID}}=kept", "EMPTY"),
        mounts=(Mount(source="v{{.Task.Slot}}", target="/{{.Service.Name}}", volume_options=volume),),
    )
    expanded = expand_task(task(container=spec), DESCRIPTION).spec.container
    assert expanded.image == "{{.Service.Name}}"
    assert expanded.hostname == "web-1"
    assert expanded.env == ("SLOT=1", "{{.Task.ID}}=kept", "EMPTY")
    assert (expanded.mounts[0].source, expanded.mounts[0].target) == ("v1", "/web")
    assert expanded.mounts[0].volume_options is not None
    assert expanded.mounts[0].volume_options.labels == {"of": "web"}
    assert expanded.mounts[0].volume_options.driver_config == Driver(name="local", options={"o": "n1"})


def test_a_task_without_placeholders_is_left_alone() -> None:
    plain = task()
    assert expand_task(plain, None) is plain


def test_a_task_of_a_global_service_has_its_node_as_slot() -> None:
    assert expand("{{.Task.Slot}}", scope_of(task(slot=0), None)) == "n1"


def test_payload_functions_are_called_by_name_only() -> None:
    functions = {"env": {"COLOUR": "blue"}.__getitem__}
    assert expand_payload(b'c={{env "COLOUR"}}', SCOPE, functions, "config c") == b"c=blue"
    with pytest.raises(Invalid, match="config c"):
        expand_payload(b"\xff", SCOPE, functions, "config c")
