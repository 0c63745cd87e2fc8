"""The browser of the tests: Chromium as it is installed, or Debian's, or the one that Playwright downloads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, Error, Playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb"]


def launch(playwright: Playwright) -> Browser:
    """A headless Chromium, installed if there is none."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None) or _installed_by_apt()
    if found is not None:
        return playwright.chromium.launch(executable_path=found, args=_ARGUMENTS)
    try:
        return playwright.chromium.launch(args=_ARGUMENTS)
    except Error:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    try:
        return playwright.chromium.launch(args=_ARGUMENTS)
    except Error as error:
        raise RuntimeError(
            "The tests of the browser app need Chromium, and it could not be installed: install it (Debian: apt-get "
            "install chromium) and run them again."
        ) from error


def _installed_by_apt() -> str | None:
    """Debian's Chromium, where we may install it."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Chromium, and what draws the views without a screen.
    packages = ["chromium", "libegl1", "libgl1-mesa-dri"]
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *arguments], check=False, env=environment, stdout=subprocess.DEVNULL)
    path = Path("/usr/bin/chromium")
    return str(path) if path.exists() else None
