"""Tables, templates, ages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from pyswarmd.cli import render
from swarmcore.errors import Invalid

ROWS = [{"ID": "a1", "DESIRED STATE": "Running"}, {"ID": "b22", "DESIRED STATE": ""}]
COLUMNS = ("ID", "DESIRED STATE")


def test_columns_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(ROWS, COLUMNS)
    assert capsys.readouterr().out == "ID    DESIRED STATE\na1    Running\nb22\n"


def test_an_empty_table_has_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    render.table([], COLUMNS)
    assert capsys.readouterr().out == "ID   DESIRED STATE\n"


def test_a_template_names_columns_as_docker_does(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(ROWS, COLUMNS, "{{.ID}}:{{ .DesiredState }}")
    assert capsys.readouterr().out == "a1:Running\nb22:\n"


def test_the_image_id_is_called_id_in_templates(capsys: pytest.CaptureFixture[str]) -> None:
    render.table([{"IMAGE ID": "abc"}], ("IMAGE ID",), "{{.ID}}")
    assert capsys.readouterr().out == "abc\n"


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(ROWS, COLUMNS, "json")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"ID": "a1", "DesiredState": "Running"}, {"ID": "b22", "DesiredState": ""}]


def test_a_template_reaches_into_nested_fields() -> None:
    service = {"Spec": {"Name": "web", "Labels": {"a": "b"}, "TTY": True, "Replicas": 3}}
    assert render.fill("{{.Spec.Name}}\\t{{.Spec.Replicas}}", service) == "web\t3"
    assert render.fill("{{json .Spec.Labels}} {{.Spec.TTY}}", service) == '{"a": "b"} true'
    assert json.loads(render.fill("{{json .}}", service)) == service


def test_a_value_may_hold_placeholders_of_its_own() -> None:
    assert render.fill("{{.Env}}", {"Env": "SLOT={{.Task.Slot}}"}) == "SLOT={{.Task.Slot}}"


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(Invalid, match=r"no field \.Spec\.Nmae"):
        render.fill("{{.Spec.Nmae}}", {"Spec": {"Name": "web"}})


@pytest.mark.parametrize("template", ["{{range .Ports}}x{{end}}", "{{.A | upper}}", "{{"])
def test_template_language_that_is_not_known_is_refused(template: str) -> None:
    with pytest.raises(Invalid, match="cannot use the template"):
        render.fill(template, {"A": "a"})


def test_inspect_prints_a_json_list_or_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    render.inspect([{"ID": "a"}], None)
    assert json.loads(capsys.readouterr().out) == [{"ID": "a"}]
    render.inspect([{"ID": "a"}, {"ID": "b"}], "{{.ID}}")
    assert capsys.readouterr().out == "a\nb\n"


def test_nanoseconds_of_a_time_are_cut() -> None:
    assert render.parse_time("2026-01-31T12:00:00.123456789Z") == datetime(
        2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(0), "less than a second ago"),
        (timedelta(seconds=1.5), "1 second ago"),
        (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(minutes=5), "5 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(days=3), "3 days ago"),
        (timedelta(seconds=-5), "less than a second ago"),
    ],
    ids=str,
)
def test_ages_are_in_the_largest_unit(ago: timedelta, text: str) -> None:
    assert render.age((datetime.now(UTC) - ago).isoformat()) == text


def test_short_ids_have_twelve_characters() -> None:
    assert render.short("x" * 25, whole=False) == "x" * 12
    assert render.short("x" * 25, whole=True) == "x" * 25
