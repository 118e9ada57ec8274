"""Runs the quick tests on the other Pythons of this machine: `python -m tests.interpreters [--newest]`.

What can be had is tested: each of VERSIONS that is installed (on the PATH, or by pyenv), in a virtual environment of
its own beside the usual one. Where its packages cannot be installed, that is said and is no failure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
#: No namespaces, containers or daemons: what differs between Pythons shows here.
QUICK = (
    *("tests/swarmcore", "tests/pki", "tests/worker", "tests/pyswarmd"),
    *("tests/manager/control", "tests/manager/dispatcher", "tests/manager/store"),
)


def find(version: str) -> Path | None:
    """An interpreter of that version that really runs."""
    candidates = [Path(found)] if (found := shutil.which(f"python{version}")) else []
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates += sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    return next((path for path in candidates if _is(path, version)), None)


def _is(python: Path, version: str) -> bool:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return ran.returncode == 0 and ran.stdout.strip() == version


def environment(version: str, python: Path) -> Path | None:
    """The interpreter of a virtual environment with our packages; None where they cannot be had."""
    folder = ROOT / f".venv-{version}"
    done, project = folder / ".done", ROOT / "pyproject.toml"
    if not done.exists() or done.stat().st_mtime < project.stat().st_mtime:
        made = subprocess.run([python, "-m", "venv", folder], check=False)
        pip: list[str | Path] = [
            folder / "bin/python",
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
        ]
        if made.returncode or subprocess.run([*pip, "-e", f"{ROOT}[test,fast]"], check=False).returncode:
            return None
        done.touch()
    return folder / "bin/python"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--newest", action="store_true", help="only the newest that is not this one")
    options = parser.parse_args()
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = [(version, python) for version in VERSIONS if version != own and (python := find(version))]
    if not found:
        print(f"no other Python than {own} is here: nothing more to test")
    failed = False
    for version, python in found[-1:] if options.newest else found:
        usable = environment(version, python)
        if usable is None:
            print(f"Python {version}: its packages cannot be installed here, not tested")
            continue
        print(f"Python {version}:", flush=True)
        command: list[str | Path] = [usable, "-m", "pytest", "-q", "-m", "not lab and not root", *QUICK]
        failed |= subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
