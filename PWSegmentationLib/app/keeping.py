"""A session on disk, so that it is there again after the server was stopped: image, segments, prompts, what was chosen.

The folder is private. `session.json` is written last, so that it never names what is not there. What cannot be brought
back is not written over, and what cannot be written is told until it can.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from PWSegmentationLib.app.images import Opened, allowed, open_image, open_sample
from PWSegmentationLib.app.kept_files import (
    DOCUMENT,
    IMAGE,
    REVIEWED,
    SEGMENTS,
    give_looks,
    looks_of,
    put_aside,
    read_document,
    read_segmentation,
    words_of,
    write_segmentation,
)
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.provenance import image_digest
from PWSegmentationLib.files import in_short, replacing
from PWSegmentationLib.mrml import PromptStore
from PWSegmentationLib.mrml.nodes import Node
from PWSegmentationLib.mrml.reviewed import make_versions_node, versions_node
from PWSegmentationLib.prompts.json_format import prompts_from_dict, prompts_to_dict

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace

SAMPLE = "sample"

# Changes in quick succession are written once.
_DELAY_S = 1.0
# What could not be written is tried again.
_RETRY_S = 10.0
_KEPT = ("auto_segment", "many_lesions", "brush_mm", "refine_seconds", "overlay", "overlay_opacity", "method")

_log = logging.getLogger(__name__)


class Keeper:
    """Writes a workplace's session when it changes, and brings it back."""

    def __init__(self, place: Workplace, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._due: asyncio.TimerHandle | None = None
        self._is_restoring = False
        # A session that could not be brought back: nothing is written over it.
        self._unrestored: dict[str, Any] | None = None
        self._has_new_voxels = True
        # Of the segments in the file.
        self._words: list[tuple[object, ...]] = []

    async def begin(self, image: str) -> None:
        """Bring the session back; without one open ``image``, a path or "sample", if it names one."""
        place = self._place
        place.on_saved, place.on_voxels = self.touch, self.touch_voxels
        place.on_replacing, place.on_try_again = self._make_way, self.try_again
        try:
            self._unrestored = read_document(self._folder)
            if self._unrestored is not None:
                await self.try_again()
                return
        except InputError as error:
            place.warn(f"{error} It is kept aside; begin anew, or ask whoever runs the server.", again=False)
            with suppress(OSError):
                put_aside(self._folder)
        if image == SAMPLE:
            await place.open_sample()
        elif image:
            # Named on the command line, not by whoever sits at the browser.
            await place.open(lambda: open_image(allowed(image, None)), "Reading the image…")

    def touch(self) -> None:
        """Something has changed: write it soon."""
        if self._due is None and not self._is_restoring:
            self._due = asyncio.get_running_loop().call_later(_DELAY_S, self.save)

    def touch_voxels(self) -> None:
        """The segments are not what was written last."""
        self._has_new_voxels = True
        self.touch()

    # ---- write -----------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the session now; the user is told if that fails, and it is tried again."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        place = self._place
        if place.opened is None or place.case is None or self._is_restoring or self._unrestored is not None:
            return
        if not self._folder.is_dir():
            # The session was ended: nothing of it is to be made again.
            return
        try:
            self._write(place.opened)
        except Exception as error:
            _log.exception("the session could not be kept")
            why = in_short(error).rstrip(".")
            place.state.set(
                unsaved=f"Not saved: {why}. Download your segments now; saving is tried again every {_RETRY_S:.0f} s."
            )
            # At the end there is no loop any more, and nobody to be told.
            with suppress(RuntimeError):
                self._due = asyncio.get_running_loop().call_later(_RETRY_S, self.save)
        else:
            place.state.set(unsaved="")

    def _write(self, opened: Opened) -> None:
        place, case = self._place, self._place.case
        assert case is not None
        case.session.finish_writing()
        segmentation = case.segmentation_node
        words = [words_of(segmentation, i) for i in case.segment_ids()]
        if words and (self._has_new_voxels or words != self._words):
            with replacing(self._folder / SEGMENTS) as path:
                write_segmentation(segmentation, path)
            reviewed = versions_node(segmentation)
            if reviewed is None:
                (self._folder / REVIEWED).unlink(missing_ok=True)
            else:
                with replacing(self._folder / REVIEWED) as path:
                    write_segmentation(reviewed, path)
            self._has_new_voxels, self._words = False, words
        store, ids = case.session.store, case.session.store.prompted()
        document = {
            "version": 1,
            "name": opened.name,
            "source": str(opened.source),
            "is_sample": opened.is_sample,
            "image": image_digest(opened.volume),
            "segments": [{"id": i, "name": case.segment(i).GetName()} for i in case.segment_ids()],
            "prompts": prompts_to_dict(store.prompt_set(ids)),
            "prompted": [i for i in ids if len(store.prompts(i))],
            "current": case.current,
            "settings": {k: v for k, v in asdict(place.settings).items() if k in _KEPT},
            "window": [place.state.get("window"), place.state.get("level")],
            "layout": place.state.get("layout"),
            "fill": place.state.get("fill"),
            # Of segments that are not as they are at first: not in the file of the segments.
            "looks": {i: looks for i in case.segment_ids() if (looks := looks_of(segmentation, i)) != (True, 1.0)},
        }
        with replacing(self._folder / DOCUMENT) as path:
            path.write_text(json.dumps(document), encoding="utf-8")
        if not opened.source.is_relative_to(self._folder):
            # An upload that another image has taken the place of.
            shutil.rmtree(self._folder / IMAGE, ignore_errors=True)

    def _make_way(self) -> None:
        """Another image is going to be shown: what could not be brought back is put aside for good."""
        if self._unrestored is None or self._is_restoring:
            return
        put_aside(self._folder)
        self._unrestored = None
        self._place.warn("")

    # ---- read ------------------------------------------------------------------------------------------------

    async def try_again(self) -> None:
        """Bring the session back; if that cannot be, say why, and what to do."""
        document, place = self._unrestored, self._place
        if document is None or self._is_restoring:
            return
        began = False

        def show(opened: Opened) -> None:
            nonlocal began
            began = True
            self._show(document, opened)
            self._unrestored = None

        self._is_restoring = True
        try:
            await place.open(lambda: self._read(document), "Bringing your session back…", show)
            if self._unrestored is not None:
                if began:
                    place.close_image()
                    place.case_changed()
                place.warn(self._problem(document, str(place.state.get("open_error"))))
                return
        finally:
            self._is_restoring = False
        place.warn("")
        self.touch()

    def _problem(self, document: dict[str, Any], reason: str) -> str:
        count, source = len(document["segments"]), Path(document["source"])
        kept = {0: "Your session is kept", 1: "Your segment is kept"}.get(count, f"Your {count} segments are kept")
        if not document.get("is_sample") and not source.exists():
            # Whoever may not open any path need not know where it was.
            shown = source if self._place.allowance.roots is None else source.name
            return f"{kept}; the image {shown} is not there: put it back and press Try again."
        return f"{kept}, but cannot be shown now: {reason} Press Try again when that is mended."

    def _read(self, document: dict[str, Any]) -> Opened:
        """The image of the session. Raises `InputError` if it is of another grid now."""
        if document.get("is_sample"):
            return open_sample()
        source, name = Path(document["source"]), str(document["name"])
        opened = open_image(source, name, self._inside(source))
        known = document.get("image")
        grid = opened.volume.grid
        if known is not None and (
            list(grid.shape) != known["shape"] or not np.allclose(grid.affine, known["affine"], atol=1e-4)
        ):
            size = " × ".join(str(n) for n in known["shape"])
            raise InputError(f"The image '{name}' is another one now: put the one of {size} voxels back.")
        return opened

    def _inside(self, source: Path) -> Sequence[Path] | None:
        """What an image may refer to: an upload to nothing."""
        return () if source.is_relative_to(self._folder) else self._place.allowance.roots

    def _show(self, document: dict[str, Any], opened: Opened) -> None:
        place = self._place
        place.show(opened, lambda: self._segmentation(document))
        assert place.case is not None
        place.apply_settings(document.get("settings", {}))
        if place.window is not None:
            place.window.set(*document.get("window", (400.0, 40.0)))
        place.choose_layout(str(document.get("layout", "four")))
        current = document.get("current")
        place.case.select(current if current in place.case.segment_ids() else None)
        place.segments_written(None)
        if document.get("image", image_digest(opened.volume)) != image_digest(opened.volume):
            place.say("Your session is back, but the image has other voxels now: check your segments.", error=True)
        else:
            place.say("Your session is back. The last steps cannot be undone any more.")

    def _segmentation(self, document: dict[str, Any]) -> Node:
        """The segmentation as it was written, with prompts; an empty one where the file is gone."""
        place = self._place
        place.state.set(fill=document.get("fill", place.state.get("fill")))
        node = place.new_segmentation(str(document["name"]))
        wanted = {str(s["id"]): str(s["name"]) for s in document["segments"]}
        if (self._folder / SEGMENTS).is_file() and wanted:
            read_segmentation(node, self._folder / SEGMENTS)
            if (self._folder / REVIEWED).is_file():
                read_segmentation(make_versions_node(node), self._folder / REVIEWED)
        segmentation = node.GetSegmentation()
        for segment_id, name in wanted.items():
            if segmentation.GetSegment(segment_id) is None:
                segmentation.AddEmptySegment(segment_id, name)
        for segment_id, looks in document.get("looks", {}).items():
            give_looks(node, segment_id, *looks)
        assert place.volume_node is not None
        store = PromptStore(place.app.scene, node, place.volume_node)
        prompts = prompts_from_dict(document["prompts"])
        for segment_id, segment in zip(document["prompted"], prompts, strict=True):
            for prompt in segment:
                store.add_prompt(segment_id, prompt)
        return node
