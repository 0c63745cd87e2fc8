"""Packages that Slicer does not bring: explained, asked for, installed and checked on first use."""

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from PWSegmentationLib.progress import Cancelled

# And the oldest version of each that works.
NEEDED = {"torch": "2.4", "monai": "1.4", "nibabel": "5.2", "safetensors": "0.4", "scipy": "1.11"}
# What stays as it is, whatever the others would rather have: Slicer's own, and the PyTorch that fits this computer. pip
# knows PyTorch's builds for GPUs only by number: for a newer MONAI it would replace them by one that may not run here.
KEPT = ("numpy", "scipy", "torch", "packaging", "typing_extensions")


def missingPackages():
    """Names of the packages that are still needed to segment: they are not there, or too old."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None or _isTooOld(name)]


def _isTooOld(name):
    from packaging.version import Version

    version = _installedVersion(name)
    # A build from before a release (2.4.0a0) counts as that release.
    return version is not None and Version(version).release < Version(NEEDED[name]).release


def _installedVersion(name):
    """None if there is none, or nobody knows."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def pythonExecutable():
    """The Python that runs what is computed: Slicer's own, as a program."""
    return shutil.which("PythonSlicer") or sys.executable


def ensurePackages(requirementsPath):
    """Install what is missing, after asking; false if the user declined.

    Called on first use, never at startup. PyTorch comes through the PyTorch extension, which picks the build for this
    computer (the CPU build where there is no GPU); the rest from the requirements file. What failed is tried again the
    next time. Raises RuntimeError with a sentence that says what to do.
    """
    missing = missingPackages()
    if not missing:
        return True
    if "torch" in missing and importlib.util.find_spec("torch") is not None:
        # Other extensions may need it, and what Slicer has loaded cannot be replaced: that is for the user to decide.
        raise RuntimeError(
            _(
                "PyTorch {installed} is installed, and PWSegmentation needs {oldest} or newer: uninstall it in the "
                "module 'PyTorch Utils', restart Slicer, and try again."
            ).format(installed=_installedVersion("torch"), oldest=NEEDED["torch"])
        )
    explanation = _(
        "PWSegmentation needs Python packages that Slicer does not bring: {packages}.\n\n"
        "They are downloaded once (PyTorch: 0.2 to 3 GB) and installed into this Slicer; then it works offline. "
        "Images are not sent anywhere.\n\n"
        "Install them now?"
    ).format(packages=", ".join(missing))
    if not slicer.util.confirmOkCancelDisplay(explanation, _("Install packages")):
        return False
    if "torch" in missing:
        installTorch()
    installRequirements(requirementsPath)
    importlib.invalidate_caches()
    still = missingPackages()
    if still:
        raise RuntimeError(_("These packages could not be installed: {packages}.").format(packages=", ".join(still)))
    return True


def installTorch():
    """Install PyTorch through the PyTorch extension, which shows its own progress."""
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise RuntimeError(
            _("Install the extension 'PyTorch' (Extensions Manager), restart Slicer, and try again.")
        ) from error
    try:
        # Asked already.
        oldest = f">={NEEDED['torch']}"
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=oldest)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(_notInstalled(error)) from error


def installRequirements(path):
    """Install a requirements file, with Slicer's own tools where it has them (5.11 and newer): they show progress."""
    try:
        import slicer.packaging as packaging
    except ImportError:
        packaging = None
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept.txt"
        kept.write_text(_keptVersions(), encoding="utf-8")
        try:
            if hasattr(packaging, "pip_ensure"):
                # Asked already.
                requirements = packaging.load_requirements(path)
                packaging.pip_ensure(requirements, constraints=kept, prompt_install=False, requester="PWSegmentation")
            else:
                slicer.util.pip_install(["-r", str(path), "-c", str(kept)])
        except subprocess.CalledProcessError as error:
            raise RuntimeError(_notInstalled(error)) from error


def _keptVersions():
    """Of the packages in KEPT that are installed, as pip takes constraints."""
    # PyTorch may have come a moment ago.
    importlib.invalidate_caches()
    versions = {name: _installedVersion(name) for name in KEPT}
    return "".join(f"{name}=={version}\n" for name, version in versions.items() if version is not None)


def _notInstalled(error):
    return _(
        "Packages could not be installed: check the internet connection and the disk, then try again ({error})."
    ).format(error=error)


class ImportCheck:
    """A job that imports the new packages in a process of its own: a broken installation says so at once."""

    text = _("checking the new packages")
    progress = 0.0
    remaining_s = None

    def __init__(self):
        command = [pythonExecutable(), "-c", f"import {', '.join(NEEDED)}"]
        self._cancelled = False
        # A file: a pipe is open as long as anything that was started holds it, and who reads it waits so long.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - read from when the process has ended
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            # A group of its own, so that a launcher and what it launched can be ended together.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )

    def poll(self):
        return self._process.poll() is not None

    def cancel(self):
        self._cancelled = True
        # Once it is known to have ended, its number may be another's.
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                if sys.platform == "win32":
                    self._process.kill()
                else:
                    os.killpg(self._process.pid, signal.SIGKILL)

    def result(self):
        """Raises RuntimeError with the reason if the packages cannot be imported, Cancelled if it was cancelled."""
        if self._cancelled:
            raise Cancelled
        self._said.seek(0)
        said = self._said.read().decode("utf-8", "replace").strip()
        if self._process.returncode != 0:
            reason = said.splitlines()[-1] if said else str(self._process.returncode)
            raise RuntimeError(_("The packages are installed but do not start: {reason}").format(reason=reason))
