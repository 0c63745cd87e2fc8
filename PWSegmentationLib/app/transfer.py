"""Files in and out of one workplace: uploads are opened, downloads handed out."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from PWSegmentationLib.app.images import Opened, open_image, title
from PWSegmentationLib.app.upload_files import Batch, calling
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import in_short, read_json

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace
    from PWSegmentationLib.prompts.prompts import PromptSet

_log = logging.getLogger(__name__)

_BATCH = re.compile(r"[0-9a-f]{16,64}")
# An upload of which nothing came for so long was given up: its tab is closed.
_GIVEN_UP_S = 30.0


class Uploads:
    """Takes uploads, and opens what they hold."""

    def __init__(self, place: Workplace, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._batches: dict[str, Batch] = {}
        # Of an upload that was interrupted when the server was stopped.
        shutil.rmtree(folder / "incoming", ignore_errors=True)

    def _name(self, request: web.Request) -> str:
        name = request.match_info["batch"]
        if not _BATCH.fullmatch(name):
            raise web.HTTPBadRequest(text="That is no upload.")
        return name

    def _begin(self, name: str) -> Batch:
        """The upload of that name, begun if there is none: one at a time."""
        if name not in self._batches:
            now = time.monotonic()
            if any(b.is_opening or now - b.heard_at < _GIVEN_UP_S for b in self._batches.values()):
                raise InputError("Another file is being uploaded to this session, in another tab: wait for it.")
            for other in self._batches.values():
                other.remove()
            self._batches = {name: Batch(self._folder / "incoming" / name, self._place.allowance.upload_bytes)}
        if self._batches[name].is_opening:
            raise InputError("That upload is being opened: begin another one for more files.")
        return self._batches[name]

    async def put(self, request: web.Request) -> web.Response:
        """One file."""
        name = self._name(request)
        try:
            await self._begin(name).receive(request.query.get("name", ""), request)
        except (InputError, OSError) as error:
            self._drop(name)
            # Not read to its end.
            return _refused(error, {"Connection": "close"})
        except BaseException:
            self._drop(name)
            raise
        return web.Response(text="ok")

    async def finish(self, request: web.Request) -> web.Response:
        """All files are there: open them."""
        name = self._name(request)
        batch = self._batches.get(name)
        if batch is None or batch.is_opening:
            return _refused(InputError("Of that upload nothing is there any more: try again."))
        batch.is_opening = True
        try:
            await asyncio.get_running_loop().run_in_executor(None, batch.unpack)
            await self._open(batch)
        except (InputError, OSError) as error:
            return _refused(error)
        finally:
            batch.is_opening = False
            self._drop(name)
        return web.Response(text="ok")

    async def delete(self, request: web.Request) -> web.Response:
        """The user's browser has given up."""
        self._drop(self._name(request))
        return web.Response(text="ok")

    def _drop(self, name: str) -> None:
        batch = self._batches.get(name)
        # What is being opened is not taken from under it.
        if batch is not None and not batch.is_opening:
            self._batches.pop(name)
            batch.remove()

    async def _open(self, batch: Batch) -> None:
        files = batch.files
        if not files:
            raise InputError("Nothing was uploaded: choose a file.")
        prompt_files = [f for f in files if f.suffix == ".json"]
        images = [f for f in files if f.suffix != ".json"]
        if len(images) > 1 and any(f.suffix != ".dcm" for f in images):
            raise InputError("Those are several images: choose one, or the files of one DICOM series.")
        if len(prompt_files) > 1:
            raise InputError("Those are several files of prompts: choose one of them.")
        if not images and self._place.case is None:
            raise InputError("Open the image that the prompts belong to first.")
        # Before an image takes the place of another one for prompts that cannot be read.
        prompts = [_read_prompts(f, batch.names[f.name]) for f in prompt_files]
        if images:
            await self._open_image(images, batch)
        for found in prompts:
            assert self._place.case is not None
            self._place.case.add_prompt_set(found)

    async def _open_image(self, files: list[Path], batch: Batch) -> None:
        kept = self._folder / "image"
        staged = self._folder / "incoming" / "opening"
        shutil.rmtree(staged, ignore_errors=True)
        files[0].parent.rename(staged)
        inside = [staged / f.name for f in files]
        path = inside[0] if len(inside) == 1 else staged
        name = title(Path(batch.names[path.name])) if len(inside) == 1 else "DICOM series"
        called = {staged / own: theirs for own, theirs in batch.names.items()} | {staged: name}

        def read() -> Opened:
            with calling(called):
                return open_image(path, name)

        opened = None
        try:
            opened = await self._place.open_upload(read)
        finally:
            if opened is None:
                shutil.rmtree(staged, ignore_errors=True)
        # Only now the image before is not needed any more.
        shutil.rmtree(kept, ignore_errors=True)
        staged.rename(kept)
        self._place.moved_source(kept / path.name if len(inside) == 1 else kept)


def _refused(error: InputError | OSError, headers: Mapping[str, str] | None = None) -> web.Response:
    """The answer to what cannot be taken in."""
    if isinstance(error, InputError):
        return web.Response(status=400, text=str(error), headers=headers)
    _log.warning("an upload failed", exc_info=error)
    text = f"The upload cannot be kept on the server ({in_short(error)}): have room made there, and try again."
    return web.Response(status=507, text=text, headers=headers)


def _read_prompts(path: Path, name: str) -> PromptSet:
    from PWSegmentationLib.prompts.json_format import prompts_from_dict

    with calling({path: name}):
        try:
            # Without a folder, so that it can refer to no files.
            return prompts_from_dict(read_json(path, "prompts"))
        except RecursionError as error:
            raise InputError(f"{path} is not a prompt set: choose one that was saved here.") from error


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
