"""``make`` begins with an environment that works, whatever became of the one before. Python is a stand-in here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None or sys.platform == "win32", reason="there is no make")

# What `python -m venv --clear .venv` does, and what the pip in there is asked for.
PYTHON = """#!/bin/sh
case "$*" in
*venv*)
  rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo made >> log;;
*"pip install"*)
  echo "$@" >> log;;
*sys.version_info*)
  exit ${WRONG_VERSION:-0};;
esac
"""
NO_PIP = "#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n"


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    script(folder / "python", PYTHON)
    return folder


def make(clone: Path, target: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "PYTHON=./python", target]
    # Nothing of a make that runs this test.
    clean = {"PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(command, cwd=clone, env=clean, capture_output=True, text=True, check=False)


def log(clone: Path) -> list[str]:
    return (clone / "log").read_text().splitlines()


@pytest.mark.parametrize("begun", ["nothing", "an interrupted one", "one whose Python is gone"])
def test_an_environment_that_does_not_work_is_made_anew(clone: Path, begun: str) -> None:
    python = clone / ".venv" / "bin" / "python"
    if begun == "an interrupted one":
        script(python, NO_PIP)
    elif begun == "one whose Python is gone":
        python.parent.mkdir(parents=True)
        python.symlink_to(clone / "no-such-python")

    assert make(clone, ".venv/.installed-demo").returncode == 0

    made, installed = log(clone)
    assert made == "made" and installed.endswith("--editable .[demo,slicer]")
    assert make(clone, ".venv/.installed-demo").returncode == 0
    assert len(log(clone)) == 2, "the second time there is nothing to do"


def test_an_environment_that_works_is_kept_whatever_python_there_is(clone: Path) -> None:
    assert make(clone, ".venv/.installed-demo").returncode == 0
    (clone / ".venv" / ".installed-demo").unlink()

    assert make(clone, ".venv/.installed-demo", WRONG_VERSION="1").returncode == 0

    assert log(clone).count("made") == 1


def test_a_python_that_does_not_fit_is_told(clone: Path) -> None:
    done = make(clone, ".venv/.installed-demo", WRONG_VERSION="1")

    assert done.returncode != 0 and not (clone / ".venv").exists()
    assert "make PYTHON=python3.12" in done.stdout
