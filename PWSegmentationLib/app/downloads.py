"""Files for the user: written on demand, handed out once, deleted."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml import export_segments
from PWSegmentationLib.prompts.json_format import write_prompts

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace


class Downloads:
    """Makes files of a workplace and serves them."""

    def __init__(self, place: Workplace, folder: Path) -> None:
        self._place = place
        self._folder = folder / "outgoing"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._ready: dict[str, Path] = {}

    async def make(self, request: web.Request) -> web.Response:
        """Write a file; the answer is where it is to be fetched."""
        writers: dict[str, tuple[str, Callable[[Path], None]]] = {
            "segmentation": (".seg.nrrd", self._segments),
            "labelmap": (".nii.gz", self._segments),
            "prompts": (".json", self._prompts),
            "scene": (".mrb", self._scene),
        }
        kind = request.match_info["kind"]
        if kind not in writers:
            raise web.HTTPNotFound(text="There is no such file.")
        ending, write = writers[kind]
        self._forget()
        token = secrets.token_hex(16)
        try:
            if self._place.opened is None:
                raise InputError("Open an image first.")
            path = self._folder / token / f"{_file_name(self._place.opened.name)}-{kind}{ending}"
            path.parent.mkdir(parents=True, mode=0o700)
            write(path)
        except InputError as error:
            return web.Response(status=400, text=str(error))
        self._ready[token] = path
        return web.Response(text=f"{token}/{path.name}")

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Hand a file out; it is deleted with the next one."""
        path = self._ready.get(request.match_info["token"])
        if path is None or path.name != request.match_info["name"] or not path.is_file():
            raise web.HTTPNotFound(text="That file is gone: download it again.")
        return web.FileResponse(path, headers={"Content-Disposition": f'attachment; filename="{path.name}"'})

    def _forget(self) -> None:
        self._ready.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _segments(self, path: Path) -> None:
        case = self._place.case
        if case is None:
            raise InputError("Open an image and segment something first.")
        export_segments(case.segmentation_node, case.session.volume_node, path)

    def _prompts(self, path: Path) -> None:
        case = self._place.case
        if case is None or not case.session.store.prompted():
            raise InputError("There are no prompts yet: place one first.")
        write_prompts(case.session.store.prompt_set(), path)

    def _scene(self, path: Path) -> None:
        scene = self._place.app.scene
        scene.SetURL(str(path))
        scene.SetRootDirectory(str(path.parent))
        if not scene.WriteToMRB(str(path)):
            raise InputError("The scene could not be written: free some disk space and try again.")


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "image"
