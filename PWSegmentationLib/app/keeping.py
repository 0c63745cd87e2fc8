"""A session on disk, so that it is there again after the server was stopped: image, segments, prompts, what was chosen.

The folder is private. `session.json` says what there is; it is written last, so that it never names what is not there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from PWSegmentationLib.app.images import Opened, allowed, open_image, open_sample
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import replacing
from PWSegmentationLib.mrml import PromptStore, is_locked
from PWSegmentationLib.mrml.export import segment_status
from PWSegmentationLib.mrml.nodes import Node
from PWSegmentationLib.mrml.review import comment
from PWSegmentationLib.mrml.reviewed import make_versions_node, versions_node
from PWSegmentationLib.prompts.json_format import prompts_from_dict, prompts_to_dict

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace

DOCUMENT = "session.json"
SEGMENTS = "segments.seg.nrrd"
REVIEWED = "reviewed.seg.nrrd"
IMAGE = "image"
SAMPLE = "sample"

# Changes in quick succession are written once.
_DELAY_S = 1.0
_KEPT = ("auto_segment", "many_lesions", "brush_mm", "refine_seconds", "overlay", "overlay_opacity", "method")

_log = logging.getLogger(__name__)


class Keeper:
    """Writes a workplace's session when it changes, and brings it back."""

    def __init__(self, place: Workplace, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._due: asyncio.TimerHandle | None = None
        self._is_restoring = False
        self._has_new_voxels = True
        # Of the segments in the file.
        self._words: list[tuple[object, ...]] = []

    async def begin(self, image: str) -> None:
        """Bring the session back; without one open ``image``, a path or "sample", if it names one."""
        place = self._place
        document = self._read()
        try:
            if document is not None:
                self._is_restoring = True
                await self._restore(document)
            elif image == SAMPLE:
                await place.open_sample()
            elif image:
                # Named on the command line, not by whoever sits at the browser.
                await place.open(lambda: open_image(allowed(image, None)), "Reading the image…")
        finally:
            self._is_restoring = False
        place.on_saved, place.on_voxels = self.touch, self.touch_voxels
        self.touch()

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
        """Write the session now."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        place = self._place
        if place.opened is None or place.case is None or self._is_restoring:
            return
        case = place.case
        try:
            segmentation = case.segmentation_node
            words = [_words(segmentation, i) for i in case.segment_ids()]
            if words and (self._has_new_voxels or words != self._words):
                _write_segmentation(segmentation, self._folder / SEGMENTS)
                _write_segmentation(versions_node(segmentation), self._folder / REVIEWED)
                self._has_new_voxels, self._words = False, words
            ids = case.session.store.prompted()
            document = {
                "version": 1,
                "name": place.opened.name,
                "source": str(place.opened.source),
                "is_sample": place.opened.name == "Chest CT" and not place.opened.source.is_relative_to(self._folder),
                "segments": [{"id": i, "name": case.segment(i).GetName()} for i in case.segment_ids()],
                "prompts": prompts_to_dict(case.session.store.prompt_set(ids)),
                "prompted": [i for i in ids if len(case.session.store.prompts(i))],
                "current": case.current,
                "settings": {k: v for k, v in asdict(place.settings).items() if k in _KEPT},
                "window": [place.state.get("window"), place.state.get("level")],
                "layout": place.state.get("layout"),
            }
            with replacing(self._folder / DOCUMENT) as path:
                path.write_text(json.dumps(document), encoding="utf-8")
            if not place.opened.source.is_relative_to(self._folder):
                # An upload that another image has taken the place of.
                shutil.rmtree(self._folder / IMAGE, ignore_errors=True)
        except (OSError, InputError):
            _log.exception("the session could not be kept")

    # ---- read ------------------------------------------------------------------------------------------------

    def _read(self) -> dict[str, Any] | None:
        try:
            document = json.loads((self._folder / DOCUMENT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) and document.get("version") == 1 else None

    async def _restore(self, document: dict[str, Any]) -> None:
        place = self._place
        source, name = Path(document["source"]), str(document["name"])

        def read() -> Opened:
            return open_sample() if document.get("is_sample") else open_image(source, name, self._inside(source))

        await place.open(
            read,
            "Bringing your session back…",
            lambda opened: place.show(opened, lambda: self._segmentation(document)),
        )
        if place.case is None:
            return
        place.apply_settings(document.get("settings", {}))
        if place.window is not None:
            place.window.set(*document.get("window", (400.0, 40.0)))
        place.choose_layout(str(document.get("layout", "four")))
        current = document.get("current")
        place.case.select(current if current in place.case.segment_ids() else None)
        place.segments_written(None)
        place.say("Your session is back. The last steps cannot be undone any more.")

    def _inside(self, source: Path) -> Sequence[Path] | None:
        """What an image may refer to: an upload to nothing."""
        return () if source.is_relative_to(self._folder) else self._place.allowance.roots

    def _segmentation(self, document: dict[str, Any]) -> Node:
        """The segmentation as it was written, with prompts; an empty one where the file is gone."""
        place = self._place
        node = place.new_segmentation(str(document["name"]))
        wanted = {str(s["id"]): str(s["name"]) for s in document["segments"]}
        if (self._folder / SEGMENTS).is_file() and wanted:
            _read_segmentation(node, self._folder / SEGMENTS)
            if (self._folder / REVIEWED).is_file():
                _read_segmentation(make_versions_node(node), self._folder / REVIEWED)
        segmentation = node.GetSegmentation()
        for segment_id, name in wanted.items():
            if segmentation.GetSegment(segment_id) is None:
                segmentation.AddEmptySegment(segment_id, name)
        assert place.volume_node is not None
        store = PromptStore(place.app.scene, node, place.volume_node)
        prompts = prompts_from_dict(document["prompts"])
        for segment_id, segment in zip(document["prompted"], prompts, strict=True):
            for prompt in segment:
                store.add_prompt(segment_id, prompt)
        return node


def _words(segmentation_node: Node, segment_id: str) -> tuple[object, ...]:
    """All that the file says of a segment besides its voxels and the user can change."""
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    said = (segment_status(segment), comment(segmentation_node, segment_id))
    return (segment_id, segment.GetName(), segment.GetColor(), is_locked(segmentation_node, segment_id), *said)


def _write_segmentation(node: Node | None, path: Path) -> None:
    """Write a segmentation, tags and all; without one, there is no file either."""
    if node is None:
        path.unlink(missing_ok=True)
        return
    storage = slicer.vtkMRMLSegmentationStorageNode()
    # The page waits meanwhile.
    storage.SetUseCompression(False)
    with replacing(path) as temporary:
        storage.SetFileName(str(temporary))
        if not storage.WriteData(node):
            raise InputError(f"{path} could not be written.")


def _read_segmentation(node: Node, path: Path) -> None:
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        _log.warning("%s could not be read", path)
