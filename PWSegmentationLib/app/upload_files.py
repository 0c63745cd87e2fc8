"""What is uploaded, before anybody opens it: bounded, checked by its content, under names of our own."""

from __future__ import annotations

import errno
import gzip
import lzma
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from PWSegmentationLib.app.detached import check_inside
from PWSegmentationLib.errors import InputError

# Endings that are kept, since readers go by them; all else is called .dcm and must be DICOM.
_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mgh", ".mgz", ".zip", ".json")
_MOST_FILES = 5000
_BLOCK = 1 << 20
# What there being no room is called.
FULL = (errno.ENOSPC, errno.EDQUOT)

WHAT = "a NIfTI, NRRD, MHA or MGH file, DICOM files or a zip of them, or prompts saved here (.json)"


class Batch:
    """The files of one upload, in a folder of their own, under names of our own."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        # What the user calls them, by the names that they have here.
        self.names: dict[str, str] = {}
        self.size = 0
        self.heard_at = time.monotonic()
        self.is_opening = False

    @property
    def files(self) -> list[Path]:
        """What has arrived."""
        return sorted(self._folder.iterdir()) if self._folder.is_dir() else []

    async def receive(self, name: str, request: web.Request) -> None:
        """Take in one file. Raises `InputError` if it is too much or not of a known type."""
        if len(self.names) >= _MOST_FILES:
            raise InputError(f"That is more than {_MOST_FILES} files: zip the one series that you want.")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{len(self.names):05d}{_ending(name)}"
        self.names[path.name] = Path(name).name[:200]
        with path.open("wb") as file:
            async for block in request.content.iter_chunked(_BLOCK):
                self.size += len(block)
                self.heard_at = time.monotonic()
                if self.size > self._limit:
                    raise InputError(f"More than {self._limit / 1e9:.1f} GB cannot be uploaded.")
                file.write(block)
        check_type(path, name)

    def unpack(self) -> None:
        """Put the files of zips in their place, no more of them and no more bytes than may be uploaded."""
        left, most = self._limit, _MOST_FILES
        for path in [p for p in self.files if p.suffix == ".zip"]:
            inside = unzip(path, left, most)
            path.unlink()
            self.names |= inside
            most -= len(inside)
            left -= sum(path.with_name(name).stat().st_size for name in inside)

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _ending(name: str) -> str:
    return next((e for e in _ENDINGS if name.lower().endswith(e)), ".dcm")


def check_type(path: Path, name: str) -> None:
    """Raise `InputError` unless a file begins as its type does."""
    with path.open("rb") as file:
        head = file.read(400)
    ending = _ending(name)
    if ending in (".nii.gz", ".mgz"):
        try:
            with gzip.open(path) as unpacked:
                head = unpacked.read(400)
        except (OSError, EOFError, zlib.error) as error:
            raise _wrong(name) from error
    # NIfTI-1 and -2, and pairs; MGH has a version number of 1.
    nifti = head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")
    fits = {
        ".nii.gz": nifti,
        ".nii": nifti,
        ".nrrd": head.startswith(b"NRRD"),
        ".mha": b"ObjectType" in head or b"NDims" in head,
        ".mgh": head.startswith(b"\0\0\0\1"),
        ".mgz": head.startswith(b"\0\0\0\1"),
        ".zip": head.startswith(b"PK\3\4"),
        # With or without a byte order mark, as `files.read_json` takes it.
        ".json": head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{",
        ".dcm": head[128:132] == b"DICM",
    }
    if not fits[ending]:
        raise _wrong(name)
    if ending in (".nrrd", ".mha"):
        with calling({path: Path(name).name}):
            check_inside(path, ())


@contextmanager
def calling(names: Mapping[Path, str]) -> Iterator[None]:
    """Refusals call files as the user does: where they lie here is not for him to know, and means nothing to him."""
    try:
        yield
    except InputError as error:
        text = str(error)
        # Files before the folder that they lie in.
        for path in sorted(names, key=lambda p: -len(str(p))):
            text = text.replace(str(path), f"'{names[path][:80]}'")
        raise InputError(text) from error


def _wrong(name: str) -> InputError:
    return InputError(f"'{Path(name).name[:80]}' is not an image that can be read here: choose {WHAT}.")


def unzip(path: Path, limit: int, most: int = _MOST_FILES) -> dict[str, str]:
    """Put the files in a zip beside it, under names of our own; directories in it do not matter.

    No more than ``limit`` bytes of ``most`` files.

    What they were called, by their names here.

    Raises
    ------
    InputError
        If it is damaged, or holds too much, or nothing that can be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [i for i in archive.infolist() if not i.is_dir() and not Path(i.filename).name.startswith(".")]
            if len(inside) > most or sum(i.file_size for i in inside) > limit:
                raise InputError("The zip holds too much: zip the one series that you want.")
            kept: dict[str, str] = {}
            left = limit
            for number, member in enumerate(inside):
                target = path.with_name(f"{path.stem}-{number:05d}{_ending(member.filename)}")
                if target.suffix == ".zip":
                    continue
                with archive.open(member) as source, target.open("wb") as file:
                    # What the zip says of itself need not be true.
                    while block := source.read(min(_BLOCK, left + 1)):
                        left -= len(block)
                        if left < 0:
                            raise InputError("The zip holds too much: zip the one series that you want.")
                        file.write(block)
                try:
                    check_type(target, member.filename)
                    kept[target.name] = Path(member.filename).name[:200]
                except InputError:
                    # A report or a DICOMDIR beside the images.
                    target.unlink()
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise InputError("The zip cannot be read: it is damaged or has a password.") from error
    if not kept:
        raise InputError(f"The zip holds no images: put into it {WHAT}.")
    return kept
