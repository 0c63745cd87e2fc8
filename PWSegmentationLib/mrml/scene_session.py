"""A `Session` on a scene: prompts come from markups, answers go into segments and overlays, undo undoes both."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.labelmaps import segment_labelmap
from PWSegmentationLib.mrml.nodes import Node, Scene, name_of
from PWSegmentationLib.mrml.overlays import OverlayKind, overlay_node, writing_overlay
from PWSegmentationLib.mrml.prompt_nodes import PromptNodes, segment_prompts
from PWSegmentationLib.mrml.prompt_store import PromptStore, Snapshot
from PWSegmentationLib.mrml.segments import UNDO_STEPS, OverwriteMode, SegmentWriter
from PWSegmentationLib.mrml.subject_hierarchy import place_beside, place_in_folder
from PWSegmentationLib.mrml.volumes import image_grid, volume_from_node
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prediction.uncertain_spots import UncertainSpot, uncertain_spots
from PWSegmentationLib.progress import Cancel, Cancelled, Progress
from PWSegmentationLib.prompts.checks import can_be_meant
from PWSegmentationLib.prompts.prompts import PromptSet
from PWSegmentationLib.segments.competition import changed_region
from PWSegmentationLib.session.engine import FinetuneReport, Method
from PWSegmentationLib.session.jobs import Job, SteppedJob
from PWSegmentationLib.session.session import Session
from PWSegmentationLib.volume.grid import Region

Result = TypeVar("Result")


@dataclass(frozen=True)
class Applied:
    """What one `SceneSession.apply` did.

    ``written`` maps the names of the segments that changed to the region, in voxels of the image, that was written.
    ``note`` is a sentence for the user, empty where there is nothing to say.
    """

    segment_id: str
    prediction: Prediction | None
    written: Mapping[str, Region]
    note: str = ""


@dataclass(frozen=True)
class Refined:
    """What `SceneSession.start_finetune` did: a report for each segment, and what was written."""

    reports: Mapping[str, FinetuneReport]
    written: Mapping[str, Region]


@dataclass(frozen=True)
class _Known:
    """What was asked, and what the scene shows: the prompt nodes, the session's prompts and networks, the segments."""

    prompts: PromptSet = field(default_factory=PromptSet)
    shown: Mapping[str, Prediction] = field(default_factory=dict)
    markups: Snapshot = ()
    models: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Step:
    """One change: before and after, and whether it changed the segmentation at all.

    An open step goes on with what follows from it: a prompt with its answer, a new segment with its first prompt.
    """

    before: _Known
    after: _Known
    changed_scene: bool
    is_open: bool = False


@dataclass(eq=False)
class _Overlay:
    """An overlay's node, and the prediction that it shows: None while it is zero."""

    node_id: str
    shows: Prediction | None = None


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
        self.store = PromptStore(scene, segmentation_node, volume_node)
        self._known = _Known(markups=self.store.snapshot())
        # Segments that came with the scene keep their voxels until they are prompted again.
        self._restored = {i: self._markups_of(i) for i in self.store.prompted() if self._has_voxels(i)}
        # Under which name the session knows a segment.
        self._names: dict[str, str] = {}
        place_beside(scene, segmentation_node, volume_node)
        self._undo: list[_Step] = []
        self._redo: list[_Step] = []
        self._spots: tuple[Prediction, deque[UncertainSpot]] | None = None
        # Overlay nodes by segment and kind; by ID, so that nodes the user deleted are noticed.
        self._overlays: dict[tuple[str, OverlayKind], _Overlay] = {}

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
        written: dict[str, Region] = {}
        for _ in self._writing(self.session.predictions(), active, overwrite, written):
            pass
        return written

    def _writing(
        self,
        answers: Mapping[str, Prediction],
        active: str,
        overwrite: OverwriteMode,
        written: dict[str, Region],
        *,
        joins: bool = True,
        onto: _Step | None = None,
    ) -> Iterator[None]:
        """`_write` segment by segment, filling ``written``; ``onto`` the last step, it is part of that."""
        yield
        shown = {n: p for n, p in self._known.shown.items() if n in self.session.prompts}
        goes_on = joins and bool(self._undo) and self._undo[-1].is_open and self._undo[-1].changed_scene
        goes_on = goes_on or onto is not None
        if not goes_on:
            self._writer.begin_step()
        try:
            for name, gone in self._known.shown.items():
                if name not in shown and self._writer.segment_id(name) is not None:
                    # Its prompts were deleted: nothing says any more where it is.
                    written[name] = self._write_one(_empty(gone), gone, overwrite, is_active=False) or gone.region
                    yield
            # The active segment last, so that it has the last word where segments meet.
            for name in sorted(answers, key=lambda n: n == active):
                if self._writer.segment_id(name) in self._locked():
                    continue
                region = self._write_one(answers[name], shown.get(name), overwrite, is_active=name == active)
                shown[name] = answers[name]
                if region is not None:
                    written[name] = region
                    yield
        except BaseException:
            if self._writer.has_changed and not goes_on:
                self._writer.undo()
            raise
        known = _Known(self.session.prompts, shown, self.store.snapshot(), self.session.models)
        self._push(known, self._writer.has_changed, joins=joins, onto=onto)

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
        ids = [self._writer.segment_id(name) for name in self.session.locked]
        return self._writer.locked([*(i for i in ids if i is not None), *self._restored])

    # ---- from the prompts in the scene -----------------------------------------------------------------------

    def note_prompts(self) -> bool:
        """Make one step for undo of what was done to the prompt nodes since the last one; false if nothing was."""
        markups = self.store.snapshot()
        if markups == self._known.markups:
            return False
        # The first prompt of a segment that was made for it is one step with it.
        joins = bool(self._undo) and self._undo[-1].is_open and self._undo[-1].changed_scene
        self._push(replace(self._known, markups=markups), changed_scene=False, joins=joins, is_open=True)
        return True

    def prompts_seen(self, segment_id: str) -> int:
        """How many points inside a segment there were at the last `note_prompts`."""
        kept = (k for k in self._known.markups if k.segment_id == segment_id and k.role == "inside")
        return sum(len(k.points) for k in kept)

    def set_options(self, *, method: Method, samples: int, seed: int, model: str = "") -> None:
        """How to predict from now on; see `Options`."""
        self.session.options = replace(self.session.options, method=method, samples=samples, seed=seed, model=model)

    def is_answered(self, segment_id: str) -> bool:
        """Whether the scene shows the answer to the prompts that a segment has now, or has none to answer."""
        prompts = self.store.prompts(segment_id)
        if segment_id in self._restored and self._restored[segment_id] == self._markups_of(segment_id):
            return True
        known = self._known.prompts
        return prompts.name in self._known.shown and known[prompts.name] == prompts if len(prompts) else True

    def start(self, segment_id: str, *, overwrite: OverwriteMode = "all") -> Job[Applied]:
        """Begin to predict a segment from the prompts in `store`, and to write whatever changes.

        As `apply`, but the work goes on in `Job.poll`; no call takes long. The prompts are those of now. The segment
        itself is written first, and then the others that its prompts make different. Overlays are left to
        `start_overlays`.

        Raises
        ------
        InputError
            For prompts that cannot be meant, or a segment that is locked.
        """
        name = self._ask(segment_id, overwrite)
        return SceneJob(lambda job: self._answering(job, name, overwrite))

    def start_finetune(
        self, budget_s: float, *, overwrite: OverwriteMode = "all", segment_ids: Sequence[str] | None = None
    ) -> Job[Refined]:
        """Begin to fit a network to this case for ``budget_s`` seconds, and to write what it changes.

        By default for every segment that was prompted. Cancelled, the best networks so far are used.

        Raises
        ------
        InputError
            For prompts that cannot be meant, or if there is nothing to fit to.
        """
        ids = self.store.prompted() if segment_ids is None else list(segment_ids)
        ids = [i for i in ids if i not in self._writer.locked()]
        if not ids:
            raise InputError("There is nothing to refine: place prompts on an unlocked segment first.")
        for segment_id in ids:
            self._restored.pop(segment_id, None)
        name = self._ask(ids[-1], overwrite)
        names = [self._names[i] for i in ids if self._names[i] in self.session.prompts]
        return SceneJob(lambda job: self._refining(job, name, names, budget_s, overwrite))

    def _ask(self, segment_id: str, overwrite: OverwriteMode) -> str:
        """Bring the prompts in the scene into the session; the name of the segment to ask about."""
        if not self.is_current:
            raise InputError(f"The image '{name_of(self.volume_node)}' has changed: start again on it.")
        self.note_prompts()
        self._restored = {i: m for i, m in self._restored.items() if i != segment_id and m == self._markups_of(i)}
        if segment_id in self._writer.locked():
            raise InputError(f"Segment '{self._writer.name(segment_id)}' is locked: unlock it to change it.")
        self._follow_names()
        ids = [i for i in self.store.prompted() if i not in self._restored]
        name = self._writer.name(segment_id)
        wanted = self._with_others_as_known(self.store.prompt_set(ids), name)
        if name in wanted and not wanted[name].has_positive:
            raise InputError(f"Segment '{name}' has only negative prompts: also mark where it is.")
        self.session.allow_overlap = overwrite == "none"
        if wanted != self.session.prompts:
            self.session.prompts = wanted
        self._names = {i: self._writer.name(i) for i in ids}
        return name

    def _with_others_as_known(self, wanted: PromptSet, name: str) -> PromptSet:
        """``wanted``, but what cannot be meant of other segments does not stand in the way of ``name``: they stay."""
        before = self.session.prompts
        for segment in wanted:
            if segment.name != name and not can_be_meant(segment, self._grid):
                known = segment.name in before
                wanted = wanted.with_segment(before[segment.name]) if known else wanted.without_segment(segment.name)
        return wanted

    def _answering(self, job: SceneJob[Applied], name: str, overwrite: OverwriteMode) -> Iterator[None]:
        answered = [s.name for s in self.session.prompts if s.has_positive]
        prediction: Prediction | None = None
        written: dict[str, Region] = {}
        asked = name if name in answered else (answered or [""])[-1]
        share = 1.0 / max(1, len({*self.session.unanswered(), asked}))
        if answered:
            prediction = yield from job.follow(self.session.start_predict(asked, alone=True), 0.0, share)
        said = {n: p for n, p in self.session.said.items() if n in answered}
        yield from job.finishing(self._writing(said, name, overwrite, written))
        if answered and self.session.unanswered():
            yield from self._answering_others(job, asked, name, overwrite, written, share)
        note = "The segmentation has a geometry of its own: the segment was resampled to it."
        if prediction is None or prediction.segment != name:
            prediction = None
        job.give(Applied(self._writer.segment_id(name) or "", prediction, written, note if self.resamples else ""))

    def _answering_others(
        self,
        job: SceneJob[Applied],
        asked: str,
        name: str,
        overwrite: OverwriteMode,
        written: dict[str, Region],
        share: float,
    ) -> Iterator[None]:
        """The segments that the prompts of the one that was written make different; one step of undo with it."""
        step = self._undo[-1]
        try:
            yield from job.follow(self.session.start_predict(asked), share, 1.0)
        except Cancelled:
            # They are asked again with the next prompt.
            return
        if self._undo and self._undo[-1] is step:
            answers = self.session.predictions()
            yield from job.finishing(self._writing(answers, name, overwrite, written, onto=step))

    def _refining(
        self, job: SceneJob[Refined], name: str, names: Sequence[str], budget_s: float, overwrite: OverwriteMode
    ) -> Iterator[None]:
        reports = yield from job.follow(self.session.start_finetune(budget_s, names), 0.0, 0.9)
        yield from job.follow(self.session.start_predict(name), 0.9, 1.0)
        written: dict[str, Region] = {}
        answers = self.session.predictions()
        yield from job.finishing(self._writing(answers, name, overwrite, written, joins=False))
        job.give(Refined(reports, written))

    @property
    def resamples(self) -> bool:
        """Whether the segmentation has a geometry of its own, to which segments are resampled."""
        return self._writer.resamples

    def _markups_of(self, segment_id: str) -> Snapshot:
        return tuple(k for k in self.store.snapshot() if k.segment_id == segment_id)

    def _has_voxels(self, segment_id: str) -> bool:
        return segment_labelmap(self.segmentation_node, segment_id) is not None

    def _follow_names(self) -> None:
        """Let the session know of segments that were given another name in the scene."""
        for segment_id, old in list(self._names.items()):
            new = self._writer.name(segment_id)
            if new and new != old and old in self.session.prompts:
                self.session.rename_segment(old, new)
                self._known = _renamed(self._known, old, new)
                self._undo = [_renamed_step(s, old, new) for s in self._undo]
                self._redo = [_renamed_step(s, old, new) for s in self._redo]
                self._overlays = {(new if n == old else n, k): v for (n, k), v in self._overlays.items()}
                self._names[segment_id] = new

    # ---- segments --------------------------------------------------------------------------------------------

    def add_segment(self, name: str, *, for_prompt: bool = False) -> str:
        """Make an empty segment; its ID. One undo takes it back, and its first prompt too if made ``for_prompt``."""
        self.note_prompts()
        # The name may be one that another segment has given up.
        self._follow_names()
        self._writer.begin_step()
        segment_id = self._writer.add(name)
        self._push(self._known, changed_scene=True, is_open=for_prompt)
        return segment_id

    def remove_segment(self, segment_id: str) -> None:
        """Remove a segment with its prompts and overlays. Raises `InputError` if it is locked."""
        if segment_id in self._writer.locked():
            raise InputError(f"Segment '{self._writer.name(segment_id)}' is locked: unlock it to remove it.")
        self.note_prompts()
        name = self._writer.name(segment_id)
        self.store.delete_segment(segment_id)
        self._writer.begin_step()
        self._writer.remove(segment_id)
        shown = {n: p for n, p in self._known.shown.items() if n != name}
        self._push(replace(self._known, shown=shown, markups=self.store.snapshot()), changed_scene=True)

    # ---- undo ------------------------------------------------------------------------------------------------

    def _push(
        self,
        known: _Known,
        changed_scene: bool,
        *,
        joins: bool = False,
        is_open: bool = False,
        onto: _Step | None = None,
    ) -> None:
        """Make a step to ``known``, or go on with the last one: if that is open and this ``joins``, or ``onto`` it."""
        if onto is not None and not (self._undo and self._undo[-1] is onto):
            # A prompt came while the rest of that step was written: it stays a step of its own.
            whole = replace(onto, changed_scene=changed_scene or onto.changed_scene)
            self._undo = [whole if step is onto else step for step in self._undo]
            self._known = known
            return
        before = self._known
        if onto is not None or (joins and self._undo and self._undo[-1].is_open):
            last = self._undo.pop()
            before, changed_scene = last.before, changed_scene or last.changed_scene
        self._undo.append(_Step(before, known, changed_scene, is_open))
        del self._undo[:-UNDO_STEPS]
        self._redo.clear()
        self._known = known

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back."""
        return bool(self._undo) or self.store.snapshot() != self._known.markups

    @property
    def can_redo(self) -> bool:
        """Whether there is something to do again."""
        return bool(self._redo)

    def undo(self, *, now: bool = True) -> bool:
        """Take the last step back: segments, overlays, prompts; false if there is none.

        Unless ``now``, overlays are left to `start_overlays`.

        Nodes given to `apply` stay as they are, the user may want them; those of `store` go back, too. Edits made
        elsewhere since then are taken back as well.
        """
        self.note_prompts()
        if not self._undo or (self._undo[-1].changed_scene and not self._writer.undo()):
            return False
        step = self._undo.pop()
        self._redo.append(step)
        self._return_to(step.before)
        if now:
            self._show_overlays("")
        return True

    def redo(self, *, now: bool = True) -> bool:
        """Do the step undone last again, as `undo`; false if there is none."""
        if not self._redo or (self._redo[-1].changed_scene and not self._writer.redo()):
            return False
        step = self._redo.pop()
        self._undo.append(step)
        self._return_to(step.after)
        if now:
            self._show_overlays("")
        return True

    def _return_to(self, known: _Known) -> None:
        self._known = known
        self.store.restore(known.markups)
        # What could not be put back, of a segment that is gone, is not known either.
        self._known = replace(known, markups=self.store.snapshot())
        self._rewind(known.prompts, known.models)

    def _rewind(self, prompts: PromptSet, models: Mapping[str, Any] | None = None) -> None:
        """Bring the session back to ``prompts`` and ``models``, through its own history where that has them."""

        def is_there() -> bool:
            return self.session.prompts == prompts and (models is None or _ids(self.session.models) == _ids(models))

        for step in (self.session.undo, self.session.redo):
            taken = 0
            while not is_there() and step():
                taken += 1
            if is_there():
                return
            back = self.session.redo if step == self.session.undo else self.session.undo
            for _ in range(taken):
                back()
        if self.session.prompts != prompts:
            self.session.prompts = prompts

    # ---- overlays --------------------------------------------------------------------------------------------

    def overlay(self, segment: str, kind: OverlayKind) -> Node | None:
        """The volume node that shows a segment's probability or uncertainty; None if there is none (any more)."""
        overlay = self._overlays.get((segment, kind))
        return None if overlay is None else self.scene.GetNodeByID(overlay.node_id)

    def start_overlays(self, segment_id: str | None = None, kind: OverlayKind | None = None) -> Job[Node | None]:
        """Begin to bring the overlays up to date; with a segment and a kind also this one, made if there is none.

        The result is its node, None where nothing is known of the segment. Given up, a later job goes on.
        """
        if segment_id is not None and kind is not None:
            name = self._writer.name(segment_id)
            self._want_overlay(name, kind)
            return SceneJob(lambda job: self._overlaying(job, name, kind))
        return SceneJob(lambda job: self._overlaying(job, None, None))

    def _overlaying(self, job: SceneJob[Node | None], name: str | None, kind: OverlayKind | None) -> Iterator[None]:
        yield from job.finishing(self._updating_overlays())
        job.give(None if name is None or kind is None else self.overlay(name, kind))

    def _show_overlays(self, segment: str, *, probability: bool = False, uncertainty: bool = False) -> None:
        """Bring all overlays up to date now, and make those of ``segment`` that are wanted."""
        kinds: tuple[tuple[OverlayKind, bool], ...] = (("probability", probability), ("uncertainty", uncertainty))
        for kind, wanted in kinds:
            if wanted:
                self._want_overlay(segment, kind)
        for _ in self._updating_overlays():
            pass

    def _want_overlay(self, segment: str, kind: OverlayKind) -> None:
        prediction = self._known.shown.get(segment)
        if self.overlay(segment, kind) is None and prediction is not None:
            node = overlay_node(self.scene, self.volume_node, prediction, kind)
            self._overlays[segment, kind] = _Overlay(node.GetID())
            place_in_folder(self.scene, node, self.volume_node)

    def _updating_overlays(self) -> Iterator[None]:
        for (name, kind), overlay in list(self._overlays.items()):
            node, prediction = self.scene.GetNodeByID(overlay.node_id), self._known.shown.get(name)
            if node is None:
                del self._overlays[name, kind]
            elif overlay.shows is not prediction:
                yield from writing_overlay(node, prediction, kind)
                overlay.shows = prediction

    def next_uncertain_spot(self, segment_id: str) -> UncertainSpot | None:
        """Where a prompt would help most; asked again, the next such place. None if nothing is in doubt."""
        prediction = self.prediction(segment_id)
        if prediction is None:
            return None
        if self._spots is None or self._spots[0] is not prediction:
            prompted = np.array([i.position for i in self.store.items(segment_id) if i.role != "box"])
            self._spots = (prediction, deque(uncertain_spots(prediction, prompted)))
        spots = self._spots[1]
        if spots:
            spots.rotate(-1)
        return spots[-1] if spots else None

    def prediction(self, segment_id: str) -> Prediction | None:
        """What the scene shows of a segment; None if it was not predicted here."""
        self._follow_names()
        return self._known.shown.get(self._writer.name(segment_id))


class SceneJob(SteppedJob[Result]):
    """A job of the session, and then the scene written, a part in every `poll`.

    The writing is not interrupted: cancelled while it goes on, it is brought to its end.
    """

    def __init__(self, work: Callable[[SceneJob[Result]], Iterator[None]]) -> None:
        self._make = work
        self._inner: Job[Any] | None = None
        self._is_writing = False
        self._cancelled = False
        super().__init__()

    def _work(self) -> Iterator[None]:
        return self._make(self)

    def follow(self, job: Job[Any], start: float, stop: float) -> Generator[None, None, Any]:
        """Wait for ``job``, which is the part of all from ``start`` to ``stop``; its result."""
        self._inner = job
        if self._cancelled:
            job.cancel()
        while not job.poll():
            self._tell(start + (stop - start) * job.progress, job.text)
            yield
        self._inner = None
        return job.result()

    def finishing(self, steps: Iterator[None]) -> Iterator[None]:
        """Write the scene."""
        self._is_writing = True
        self.text = "writing the segment"
        yield from steps
        self._is_writing = False

    def give(self, result: Result) -> None:
        """Say what came out of it."""
        self._result = result

    @property
    def remaining_s(self) -> float | None:
        """See `Job`."""
        return self._inner.remaining_s if self._inner is not None else super().remaining_s

    def cancel(self) -> None:
        """See `Job`."""
        self._cancelled = True
        if self._inner is not None:
            self._inner.cancel()
        while self._is_writing and not self.poll():
            pass


def _scalars(volume_node: Node) -> Any:
    image = volume_node.GetImageData()
    return None if image is None else image.GetPointData().GetScalars()


def _empty(prediction: Prediction) -> Prediction:
    """The same place with nothing in it."""
    nothing = np.zeros_like(prediction.region_probability)
    return replace(
        prediction,
        region_mask=np.zeros_like(prediction.region_mask),
        region_probability=nothing,
        region_uncertainty=nothing,
    )


def _ids(models: Mapping[str, Any]) -> dict[str, int]:
    return {name: id(model) for name, model in models.items()}


def _renamed(known: _Known, old: str, new: str) -> _Known:
    segments = tuple(replace(s, name=new) if s.name == old else s for s in known.prompts)
    shown = {new if n == old else n: replace(p, segment=new) if n == old else p for n, p in known.shown.items()}
    models = {new if n == old else n: m for n, m in known.models.items()}
    return replace(known, prompts=PromptSet(segments), shown=shown, models=models)


def _renamed_step(step: _Step, old: str, new: str) -> _Step:
    return replace(step, before=_renamed(step.before, old, new), after=_renamed(step.after, old, new))
