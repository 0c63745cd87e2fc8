"""Files in and out of one workplace: uploads, bounded and checked, and downloads."""

from __future__ import annotations

import asyncio
import gzip
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from PWSegmentationLib.app.detached import check_inside
from PWSegmentationLib.app.images import open_image, title
from PWSegmentationLib.errors import InputError

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace

# Endings that are kept, since readers go by them; all else is called .dcm and must be DICOM.
_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mgh", ".mgz", ".zip", ".json")
_MOST_FILES = 5000
_BATCH = re.compile(r"[0-9a-f]{16,64}")
_BLOCK = 1 << 20

WHAT = "a NIfTI, NRRD, MHA or MGH file, DICOM files or a zip of them, or prompts saved here (.json)"


class Batch:
    """The files of one upload, in a folder of their own, under names of our own."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self.names: list[str] = []
        self.size = 0

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
        self.names.append(Path(name).name[:200])
        with path.open("wb") as file:
            async for block in request.content.iter_chunked(_BLOCK):
                self.size += len(block)
                if self.size > self._limit:
                    raise InputError(f"More than {self._limit / 1e9:.1f} GB cannot be uploaded.")
                file.write(block)
        check_type(path, name)

    def unpack(self) -> None:
        """Put the files of zips in their place, no more of them and no more bytes than may be uploaded."""
        for path in [p for p in self.files if p.suffix == ".zip"]:
            unzip(path, self._limit)
            path.unlink()

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
        except (OSError, EOFError) as error:
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
        ".json": head.lstrip()[:1] == b"{",
        ".dcm": head[128:132] == b"DICM",
    }
    if not fits[ending]:
        raise _wrong(name)
    if ending in (".nrrd", ".mha"):
        with calling(path, name):
            check_inside(path, ())


@contextmanager
def calling(path: Path, name: str) -> Iterator[None]:
    """Refusals call a file as the user does: where it lies here is not for him to know, and means nothing to him."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(path), f"'{Path(name).name[:80]}'")) from error


def _wrong(name: str) -> InputError:
    return InputError(f"'{Path(name).name[:80]}' is not an image that can be read here: choose {WHAT}.")


def unzip(path: Path, limit: int) -> None:
    """Put the files in a zip beside it, under names of our own; directories in it do not matter.

    Raises
    ------
    InputError
        If it is damaged, or holds too much, or nothing that can be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [i for i in archive.infolist() if not i.is_dir() and not Path(i.filename).name.startswith(".")]
            if len(inside) > _MOST_FILES or sum(i.file_size for i in inside) > limit:
                raise InputError("The zip holds too much: zip the one series that you want.")
            kept, left = 0, limit
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
                    kept += 1
                except InputError:
                    # A report or a DICOMDIR beside the images.
                    target.unlink()
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise InputError("The zip cannot be read: it is damaged or has a password.") from error
    if kept == 0:
        raise InputError(f"The zip holds no images: put into it {WHAT}.")


class Uploads:
    """Takes uploads, and opens what they hold."""

    def __init__(self, place: Workplace, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._batches: dict[str, Batch] = {}
        # Of an upload that was interrupted when the server was stopped.
        shutil.rmtree(folder / "incoming", ignore_errors=True)

    def _batch(self, request: web.Request) -> Batch:
        name = request.match_info["batch"]
        if not _BATCH.fullmatch(name):
            raise web.HTTPBadRequest(text="That is no upload.")
        if name not in self._batches:
            # One at a time: what was begun and left is deleted.
            for other in self._batches.values():
                other.remove()
            self._batches = {name: Batch(self._folder / "incoming" / name, self._place.allowance.upload_bytes)}
        return self._batches[name]

    async def put(self, request: web.Request) -> web.Response:
        """One file."""
        batch = self._batch(request)
        try:
            await batch.receive(request.query.get("name", ""), request)
        except InputError as error:
            self._drop(request)
            # Not read to its end.
            return web.Response(status=400, text=str(error), headers={"Connection": "close"})
        except BaseException:
            self._drop(request)
            raise
        return web.Response(text="ok")

    async def finish(self, request: web.Request) -> web.Response:
        """All files are there: open them."""
        batch = self._batch(request)
        try:
            await asyncio.get_running_loop().run_in_executor(None, batch.unpack)
            await self._open(batch)
        except InputError as error:
            self._drop(request)
            return web.Response(status=400, text=str(error))
        self._batches.clear()
        return web.Response(text="ok")

    async def delete(self, request: web.Request) -> web.Response:
        """The user's browser has given up."""
        self._drop(request)
        return web.Response(text="ok")

    def _drop(self, request: web.Request) -> None:
        self._batch(request).remove()
        self._batches.clear()

    async def _open(self, batch: Batch) -> None:
        files = batch.files
        if not files:
            raise InputError("Nothing was uploaded: choose a file.")
        if len(files) == 1 and files[0].suffix == ".json":
            await self._open_prompts(files[0], batch.names[0])
            batch.remove()
            return
        images = [f for f in files if f.suffix != ".json"]
        if len(images) > 1 and any(f.suffix != ".dcm" for f in images):
            raise InputError("Those are several images: choose one, or the files of one DICOM series.")
        kept = self._folder / "image"
        staged = self._folder / "incoming" / "opening"
        shutil.rmtree(staged, ignore_errors=True)
        images[0].parent.rename(staged)
        inside = [staged / f.name for f in images]
        path = inside[0] if len(inside) == 1 else staged
        name = title(Path(batch.names[0])) if len(inside) == 1 else "DICOM series"
        opened = None
        try:
            opened = await self._place.open_upload(lambda: open_image(path, name))
        finally:
            if opened is None:
                shutil.rmtree(staged, ignore_errors=True)
        # Only now the image before is not needed any more.
        shutil.rmtree(kept, ignore_errors=True)
        staged.rename(kept)
        self._place.moved_source(kept / path.name if len(inside) == 1 else kept)

    async def _open_prompts(self, path: Path, name: str) -> None:
        from PWSegmentationLib.files import read_json
        from PWSegmentationLib.prompts.json_format import prompts_from_dict

        case = self._place.case
        if case is None:
            raise InputError("Open the image that the prompts belong to first.")
        with calling(path, name):
            # Without a folder, so that it can refer to no files.
            prompts = prompts_from_dict(read_json(path, "prompts"))
        case.add_prompt_set(prompts)


def routes(place: Workplace, folder: Path) -> list[web.RouteDef]:
    """What a workplace's web server answers besides the page."""
    from PWSegmentationLib.app.downloads import Downloads

    uploads, downloads = Uploads(place, folder), Downloads(place, folder)
    return [
        web.put("/upload/{batch}", uploads.put),
        web.post("/upload/{batch}", uploads.finish),
        web.delete("/upload/{batch}", uploads.delete),
        web.post("/download", downloads.make),
        web.get("/download/{token}/{name}", downloads.get),
    ]
