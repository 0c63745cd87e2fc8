"""Files for the user: written on demand, handed out, and deleted with the next ones."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from PWSegmentationLib.app.exporting import FORMATS, Contents, Wishes, file_name, problems, take, write
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.provenance import image_digest
from PWSegmentationLib.files import in_short
from PWSegmentationLib.mrml.nodes import Scene

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace
    from PWSegmentationLib.review.review import SegmentReview

# With less than this left where sessions are kept, files are written where there is more room.
_LITTLE_BYTES = 256 * 1024**2

_log = logging.getLogger(__name__)


class Downloads:
    """Makes files of a workplace and serves them; several as one zip."""

    def __init__(self, place: Workplace, folder: Path) -> None:
        self._place = place
        self._folder = folder / "outgoing"
        self._elsewhere: tempfile.TemporaryDirectory[str] | None = None
        self._ready: dict[str, Path] = {}
        self._clear()
        self._one_at_a_time = asyncio.Lock()

    async def make(self, request: web.Request) -> web.Response:
        """Write what the request wishes for; the answer is where it is to be fetched."""
        try:
            wishes = _wishes(await request.json())
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise web.HTTPBadRequest(text="That is no wish for files.") from error
        token = secrets.token_hex(16)
        async with self._one_at_a_time:
            self._clear()
            self._place.state.set(exporting=True, export_error="")
            try:
                folder = self._roomy() / token
                folder.mkdir(parents=True, mode=0o700)
                path = self._ready[token] = await self._make(wishes, folder)
            except InputError as error:
                return self._refused(str(error))
            except Exception as error:
                _log.exception("downloading failed")
                return self._refused(f"This did not work: {in_short(error)}.")
            finally:
                self._place.state.set(exporting=False)
        return web.Response(text=f"{token}/{path.name}")

    def _clear(self) -> None:
        self._ready.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._elsewhere is not None:
            self._elsewhere.cleanup()
            self._elsewhere = None

    def _roomy(self) -> Path:
        """Where to write: whose work cannot be kept, since the disk is full, can still have it."""
        free = shutil.disk_usage(self._folder.parent).free
        if free < min(_LITTLE_BYTES, shutil.disk_usage(tempfile.gettempdir()).free):
            self._elsewhere = tempfile.TemporaryDirectory(prefix="pwseg-")
            return Path(self._elsewhere.name)
        return self._folder

    def _refused(self, text: str) -> web.Response:
        self._place.state.set(export_error=text)
        return web.Response(status=400, text=text)

    async def _make(self, wishes: Wishes, folder: Path) -> Path:
        loop = asyncio.get_running_loop()
        contents = await self._take(wishes)
        files = []
        if "scene" in wishes.kinds:
            files.append(folder / file_name(contents.name, "scene"))
            _write_scene(self._place.app.scene, files[0])

        def tell(_done: float, text: str) -> None:
            loop.call_soon_threadsafe(lambda: self._place.state.set(export_text=f"Writing {text}…"))

        def work() -> Path:
            return _packed([*files, *write(contents, wishes, folder, tell)], folder / f"{contents.name}.zip")

        return await loop.run_in_executor(None, work)

    async def _take(self, wishes: Wishes) -> Contents:
        """What there is to write. Raises `InputError` if some of it cannot be had."""
        place, case = self._place, self._place.case
        if place.opened is None or case is None:
            raise InputError("Open an image first.")
        if not wishes.kinds:
            raise InputError("Choose at least one format.")
        found = problems(place.opened, case)
        reason = next((found[kind] for kind in wishes.kinds if kind in found), None)
        if reason is not None:
            raise InputError(reason)
        place.state.set(export_text="Looking at what there is…")
        # A second for a large image; the provenance has it at once then.
        await asyncio.get_running_loop().run_in_executor(None, image_digest, case.session.session.volume)
        reviews = await self._looked() if "report" in wishes.kinds else {}
        review = place.review
        if place.case is not case or review is None:
            raise InputError("Another image was opened meanwhile: download what you need of it.")
        before = {found.segment.name: review.before(segment_id) for segment_id, found in reviews.items()}
        kept = {name: segment for name, segment in before.items() if segment is not None}
        return take(place.opened, case, list(reviews.values()), kept)

    async def _looked(self) -> Mapping[str, SegmentReview]:
        review = self._place.review
        return {} if review is None else await review.looked()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Hand a file out."""
        path = self._ready.get(request.match_info["token"])
        if path is None or path.name != request.match_info["name"] or not path.is_file():
            raise web.HTTPNotFound(text="That file is gone: download it again.")
        return web.FileResponse(path, headers={"Content-Disposition": f'attachment; filename="{path.name}"'})


def _wishes(document: dict[str, object]) -> Wishes:
    """A request's document as wishes. Raises what reading it stumbles over."""
    kinds = tuple(str(kind) for kind in document["kinds"])  # type: ignore[attr-defined]
    if not set(kinds) <= set(FORMATS):
        raise ValueError(kinds)
    return Wishes(kinds, bool(document.get("eight_bit")), bool(document.get("provenance", True)))


def _packed(files: Sequence[Path], path: Path) -> Path:
    """One file as it is; several in a zip, after which they are deleted."""
    if len(files) == 1:
        return files[0]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in files:
            archive.write(file, file.name)
            file.unlink()
    return path


def _write_scene(scene: Scene, path: Path) -> None:
    scene.SetURL(str(path))
    scene.SetRootDirectory(str(path.parent))
    if not scene.WriteToMRB(str(path)):
        raise InputError("The scene could not be written: free some disk space and try again.")
