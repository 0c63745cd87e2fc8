"""A `Session` on a scene: prompts come from markups, answers go into segments and overlays, undo undoes both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.nodes import Node, Scene, name_of
from PWSegmentationLib.mrml.overlays import OverlayKind, clear_overlay, write_overlay
from PWSegmentationLib.mrml.prompt_nodes import PromptNodes, segment_prompts
from PWSegmentationLib.mrml.segments import UNDO_STEPS, OverwriteMode, SegmentWriter
from PWSegmentationLib.mrml.volumes import image_grid, volume_from_node
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.progress import Cancel, Progress
from PWSegmentationLib.prompts.prompts import PromptSet
from PWSegmentationLib.segments.competition import changed_region
from PWSegmentationLib.session.session import Session
from PWSegmentationLib.volume.grid import Region


@dataclass(frozen=True)
class Applied:
    """What one `SceneSession.apply` did.

    ``written`` maps the names of the segments that changed to the region, in voxels of the image, that was written.
    ``note`` is a sentence for the user, empty where there is nothing to say.
    """

    segment_id: str
    prediction: Prediction
    written: Mapping[str, Region]
    note: str = ""


@dataclass(frozen=True)
class _Known:
    """What was asked, and what the scene shows."""

    prompts: PromptSet = field(default_factory=PromptSet)
    shown: Mapping[str, Prediction] = field(default_factory=dict)


@dataclass(frozen=True)
class _Step:
    """One `apply`: before and after, and whether it changed the segmentation at all."""

    before: _Known
    after: _Known
    changed_scene: bool


class SceneSession:
    """Interactive segmentation of one volume node into one segmentation node.

    Parameters
    ----------
    scene
        The MRML scene that holds the nodes.
    volume_node, segmentation_node
        The image, and where its segments go.
    session
        What predicts; by default a new `Session`. Its image is set here.
    masking
        A Segment Editor parameter node whose masking settings are honoured; by default everything may be edited.

    Raises
    ------
    InputError
        If one of the nodes cannot be used.
    """

    def __init__(
        self,
        scene: Scene,
        volume_node: Node,
        segmentation_node: Node,
        session: Session | None = None,
        *,
        masking: Node | None = None,
    ) -> None:
        volume = volume_from_node(volume_node)
        self._writer = SegmentWriter(scene, segmentation_node, volume_node, masking=masking)
        self.scene = scene
        self.volume_node = volume_node
        self.segmentation_node = segmentation_node
        self.session = Session() if session is None else session
        self.session.set_volume(volume)
        self._grid = volume.grid
        self._scalars = _scalars(volume_node)
        self._scalars_time = self._scalars.GetMTime()
        self._known = _Known()
        self._undo: list[_Step] = []
        self._redo: list[_Step] = []
        # Overlay nodes by segment and kind; by ID, so that nodes the user deleted are noticed.
        self._overlays: dict[tuple[str, OverlayKind], str] = {}

    def close(self) -> None:
        """Let go of the scene."""
        self._writer.close()

    @property
    def is_current(self) -> bool:
        """Whether the volume node still holds the image, at the place, that this session was made for."""
        node = self.volume_node
        return (
            node.GetScene() is not None
            and self.segmentation_node.GetScene() is not None
            and _scalars(node) is self._scalars
            and self._scalars.GetMTime() == self._scalars_time
            and image_grid(node).same_as(self._grid)
        )

    # ---- predict ---------------------------------------------------------------------------------------------

    def apply(
        self,
        nodes: PromptNodes,
        *,
        overwrite: OverwriteMode = "all",
        probability: bool = False,
        uncertainty: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Applied:
        """Take the prompts of one segment from the scene, predict, and write whatever changed.

        Segments prompted before compete with this one for voxels, unless ``overwrite`` is "none", and are written
        too where they lose some. Voxels of locked and completed segments stay theirs.

        Parameters
        ----------
        nodes
            The nodes that hold the segment's prompts. They replace what was collected for it before.
        overwrite
            Which other segments lose the voxels that this one gets: "all", the "visible" ones, or "none".
        probability, uncertainty
            Whether to show these as volume nodes; existing ones are updated in any case.

        Raises
        ------
        InputError
            For prompts that cannot be meant, or a segment that is locked.
        Cancelled
            If ``cancel`` returned true; scene and session are as before.
        """
        if not self.is_current:
            raise InputError(f"The image '{name_of(self.volume_node)}' has changed: start again on it.")
        prompts = segment_prompts(nodes)
        existing = self._writer.segment_id(nodes.segment)
        if existing in self._locked():
            raise InputError(f"Segment '{nodes.segment}' is locked: unlock it to change it.")
        before = self.session.prompts
        wanted = self._without_deleted(before, nodes.segment).with_segment(prompts)
        self.session.allow_overlap = overwrite == "none"
        if wanted != before:
            self.session.prompts = wanted
        try:
            prediction = self.session.predict(nodes.segment, progress=progress, cancel=cancel)
            written = self._write(nodes.segment, overwrite)
        except BaseException:
            # Also for an interrupt: half of an answer must not stay.
            self._rewind(before)
            raise
        self._show_overlays(nodes.segment, probability=probability, uncertainty=uncertainty)
        note = "The segmentation has a geometry of its own: the segment was resampled to it."
        segment_id = self._writer.segment_id(nodes.segment)
        assert segment_id is not None
        return Applied(segment_id, prediction, written, note if self._writer.resamples else "")

    def _without_deleted(self, prompts: PromptSet, active: str) -> PromptSet:
        """The prompts without segments that the user has deleted from the scene, or given another name there."""
        for name in self._known.shown:
            if name in prompts and name != active and self._writer.segment_id(name) is None:
                prompts = prompts.without_segment(name)
        return prompts

    def _write(self, active: str, overwrite: OverwriteMode) -> dict[str, Region]:
        """Write every segment that is not what the scene shows; what was written of each."""
        answers = self.session.predictions()
        shown = {n: p for n, p in self._known.shown.items() if n in self.session.prompts}
        written: dict[str, Region] = {}
        self._writer.begin_step()
        try:
            # The active segment last, so that it has the last word where segments meet.
            for name in sorted(answers, key=lambda n: n == active):
                if self._writer.segment_id(name) in self._locked():
                    continue
                region = self._write_one(answers[name], shown.get(name), overwrite, is_active=name == active)
                shown[name] = answers[name]
                if region is not None:
                    written[name] = region
        except BaseException:
            if self._writer.has_changed:
                self._writer.undo()
            raise
        self._remember(_Known(self.session.prompts, shown))
        return written

    def _write_one(
        self, now: Prediction, before: Prediction | None, overwrite: OverwriteMode, *, is_active: bool
    ) -> Region | None:
        """Write one segment; the region that was written, None if its voxels are as before."""
        segment_id = self._writer.segment_id(now.segment)
        # What the scene showed before is only known of segments that were written here.
        region: Region | None = now.region
        if before is not None and segment_id is not None:
            region = changed_region({now.segment: before}, {now.segment: now})
        if region is None:
            return None
        # Of the others only voxels won or lost are touched, so that what was edited by hand there stays.
        since = None if is_active else before
        self._writer.write(
            now, segment_id, region=region, since=since, overwrite=overwrite, locked=self._locked(), undo_step=False
        )
        return region

    def _locked(self) -> frozenset[str]:
        """IDs of the segments that are locked in the session or completed in the scene."""
        ids = (self._writer.segment_id(name) for name in self.session.locked)
        return self._writer.locked(i for i in ids if i is not None)

    # ---- undo ------------------------------------------------------------------------------------------------

    def _remember(self, known: _Known) -> None:
        self._undo.append(_Step(self._known, known, self._writer.has_changed))
        del self._undo[:-UNDO_STEPS]
        self._redo.clear()
        self._known = known

    @property
    def can_undo(self) -> bool:
        """Whether there is an `apply` to take back."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether there is an `apply` to do again."""
        return bool(self._redo)

    def undo(self) -> bool:
        """Take the last `apply` back: segments, overlays and the session's prompts; false if there is none.

        The markups stay as they are, the user may want them. Edits made elsewhere since then are taken back too.
        """
        if not self._undo or (self._undo[-1].changed_scene and not self._writer.undo()):
            return False
        step = self._undo.pop()
        self._redo.append(step)
        self._return_to(step.before)
        return True

    def redo(self) -> bool:
        """Do the `apply` undone last again; false if there is none."""
        if not self._redo or (self._redo[-1].changed_scene and not self._writer.redo()):
            return False
        step = self._redo.pop()
        self._undo.append(step)
        self._return_to(step.after)
        return True

    def _return_to(self, known: _Known) -> None:
        self._known = known
        self._rewind(known.prompts)
        for name in {name for name, _ in self._overlays}:
            self._show_overlays(name)

    def _rewind(self, prompts: PromptSet) -> None:
        """Bring the session back to ``prompts``, through its own history where that has them."""
        for step in (self.session.undo, self.session.redo):
            taken = 0
            while self.session.prompts != prompts and step():
                taken += 1
            if self.session.prompts == prompts:
                return
            back = self.session.redo if step == self.session.undo else self.session.undo
            for _ in range(taken):
                back()
        self.session.prompts = prompts

    # ---- overlays --------------------------------------------------------------------------------------------

    def overlay(self, segment: str, kind: OverlayKind) -> Node | None:
        """The volume node that shows a segment's probability or uncertainty; None if there is none (any more)."""
        return self.scene.GetNodeByID(self._overlays.get((segment, kind), ""))

    def _show_overlays(self, segment: str, *, probability: bool = False, uncertainty: bool = False) -> None:
        prediction = self._known.shown.get(segment)
        kinds: tuple[tuple[OverlayKind, bool], ...] = (("probability", probability), ("uncertainty", uncertainty))
        for kind, wanted in kinds:
            node = self.overlay(segment, kind)
            if prediction is None:
                if node is not None:
                    clear_overlay(node)
            elif node is not None or wanted:
                node = write_overlay(self.scene, self.volume_node, prediction, kind, node)
                self._overlays[segment, kind] = node.GetID()


def _scalars(volume_node: Node) -> Any:
    image = volume_node.GetImageData()
    return None if image is None else image.GetPointData().GetScalars()
