"""What a figure was measured with: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PWSegmentationLib import __version__

_PACKAGES = ("numpy", "scipy", "torch", "monai", "slicer-core", "scikit-image")


def machine_and_versions() -> dict[str, Any]:
    """Machine, versions and commit, for a figure that others can judge. JSON values; no host or user name."""
    return {
        "machine": _machine(),
        "PWSegmentationLib": __version__,
        "commit": _commit() or "not in a repository",
        "python": platform.python_version(),
        **{name: found for name in _PACKAGES if (found := _version(name))},
    }


def _machine() -> str:
    processor = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}"


def _commit() -> str:
    """As git tells it; "-dirty" where the files differ from it."""
    try:
        # An environment inside somebody's repository is no part of it.
        if not _git("ls-files", Path(__file__).name):
            return ""
        return _git("describe", "--always", "--dirty", "--abbrev=10")
    except OSError:
        return ""


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
