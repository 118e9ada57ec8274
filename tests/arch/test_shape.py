"""The shape of the code: imports go one way, types and style hold, files stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.arch.limits import faults

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PACKAGES = ("swarmcore", "pki", "netoverlay", "manager", "worker", "stacks", "pyswarmd")


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--no-cache", "--check", "."],
        ["mypy"],
        ["lint-imports", "--no-cache"],
    ],
    ids=lambda c: " ".join(c[:2]),
)
def test_the_checker_is_content(command: list[str]) -> None:
    result = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


def test_files_stay_small() -> None:
    assert faults("lines-of-files") == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if not path.read_text().lstrip().startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_names_get_into_paths_in_one_place() -> None:
    """`client.at` quotes them: f"/services/{name}" would read b for `a/../b`."""
    faults = [
        f"{path.relative_to(ROOT)}:{node.lineno}: use at() of pyswarmd/client.py"
        for path in (ROOT / "pyswarmd/cli").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr)
        and isinstance(node.values[0], ast.Constant)
        and str(node.values[0].value).startswith("/")
    ]
    assert faults == []


def test_every_dependency_has_its_reason() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted += extra
    reasons = (ROOT / "docs/dependencies.md").read_text()
    names = [item.split(">")[0].split("=")[0] for item in wanted]
    assert [name for name in names if f"`{name}`" not in reasons] == []
