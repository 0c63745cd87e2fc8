"""A `Session` on a scene: prompts come from markups, answers go into segments and overlays, undo undoes both.

The session knows segments by name, the scene by ID. `SceneSession` follows names that are changed in the scene and
writes by ID, so that an answer reaches the segment that it was asked for, or none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.earlier_work import EarlierWork
from PWSegmentationLib.mrml.labelmaps import segment_labelmap, segment_ml
from PWSegmentationLib.mrml.modifying import OverwriteMode
from PWSegmentationLib.mrml.nodes import Node, Scene, name_of
from PWSegmentationLib.mrml.overlays import OverlayKind
from PWSegmentationLib.mrml.prompt_nodes import PromptNodes, segment_prompts
from PWSegmentationLib.mrml.prompt_store import PromptStore, Snapshot
from PWSegmentationLib.mrml.scene_history import Known, SceneHistory, Step, markups_of, rewind
from PWSegmentationLib.mrml.scene_job import SceneJob
from PWSegmentationLib.mrml.scene_names import SceneNames
from PWSegmentationLib.mrml.scene_overlays import SceneOverlays
from PWSegmentationLib.mrml.scene_questions import Applied, Asked, Refined, Writing
from PWSegmentationLib.mrml.segment_history import Left, SegmentStep
from PWSegmentationLib.mrml.segments import SegmentWriter
from PWSegmentationLib.mrml.subject_hierarchy import place_beside
from PWSegmentationLib.mrml.volumes import image_grid, volume_from_node
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prediction.uncertain_spots import UncertainSpot, uncertain_spots
from PWSegmentationLib.progress import Cancel, Cancelled, Progress
from PWSegmentationLib.prompts.checks import can_be_meant
from PWSegmentationLib.prompts.prompts import Point, PromptSet, SegmentPrompts
from PWSegmentationLib.segments.competition import changed_region
from PWSegmentationLib.session.engine import Method
from PWSegmentationLib.session.jobs import Job
from PWSegmentationLib.session.session import Session
from PWSegmentationLib.volume.grid import Region

_RESAMPLED = "The segmentation has a geometry of its own: the segment was resampled to it."

_VOXELS_STAY = "Segment '{name}' has no prompts any more, and keeps its voxels: remove it if it is not wanted."


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
        Gives the Segment Editor parameter node whose masking settings are honoured, None if there is none; it is asked
        before every answer is written. By default everything may be edited.

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
        masking: Callable[[], Node | None] | None = None,
    ) -> None:
        volume = volume_from_node(volume_node)
        self._writer = SegmentWriter(scene, segmentation_node, volume_node)
        self._masking = masking
        self.scene = scene
        self.volume_node = volume_node
        self.segmentation_node = segmentation_node
        self.session = Session() if session is None else session
        self.session.set_volume(volume)
        self._grid = volume.grid
        self._scalars = _scalars(volume_node)
        self._scalars_time = self._scalars.GetMTime()
        self.store = PromptStore(scene, segmentation_node, volume_node)
        self.note = ""
        # Segments that came with the scene keep their voxels until they are prompted again.
        answered = {i: self._markups_of(i) for i in self.store.prompted() if self._has_voxels(i)}
        self._history = SceneHistory(Known(markups=self.store.snapshot(), answered=answered))
        self._names = SceneNames(segmentation_node)
        # Segments that held something before they were asked about; and the places that stand for it, see `_asked_of`.
        self._made_elsewhere: set[str] = set()
        self._held_back: dict[str, float] = {}
        self._stand_ins: dict[str, Point] = {}
        # Segments whose prompt nodes somebody has removed from the scene.
        self._tidied: set[str] = set()
        # What writes segments, or did last.
        self._job: SceneJob[Any] | None = None
        place_beside(scene, segmentation_node, volume_node)
        self._spots: tuple[Prediction, deque[UncertainSpot]] | None = None
        self._overlays = SceneOverlays(scene, volume_node)

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
        self.finish_writing()
        self._check_current()
        name = nodes.segment
        prompts = segment_prompts(nodes)
        segment_id = self._writer.segment_id(name)
        if segment_id is not None:
            self._check_unlocked(segment_id, "change it")
        before = self.session.prompts
        kept = self._without_given_up(before)
        wanted = kept.with_segment(prompts)
        works = {}
        if segment_id is not None:
            answered = kept[name] if name in kept else SegmentPrompts(name)
            work = self._work_in(segment_id, answered)
            works = {} if work is None else {segment_id: work}
        asked = Asked(segment_id or "", overwrite, works=works)
        self.session.allow_overlap = overwrite == "none"
        if wanted != before:
            self.session.prompts = wanted
        for work in works.values():
            self.session.go_by(name, work.as_answer(prompts))
        try:
            prediction = self.session.predict(name, progress=progress, cancel=cancel)
            if segment_id is not None:
                self._names.give(segment_id, name)
            written: dict[str, Region] = {}
            for _ in self._writing(self.session.predictions(), name, asked, written, make=segment_id is None):
                pass
        except BaseException:
            # Also for an interrupt: half of an answer must not stay.
            rewind(self.session, before)
            raise
        segment_id = self._names.id_of(name)
        assert segment_id is not None
        self._show_overlays(segment_id, probability=probability, uncertainty=uncertainty)
        return self._applied(segment_id, prediction, written)

    def _without_given_up(self, prompts: PromptSet) -> PromptSet:
        """The prompts without segments that the user has deleted from the scene, or given another name there."""
        for segment_id in self._names.known():
            name = self._names.of(segment_id)
            if self._writer.name(segment_id) != name:
                self._names.forget(segment_id)
                prompts = prompts.without_segment(name) if name in prompts else prompts
        return prompts

    def _writing(
        self,
        answers: Mapping[str, Prediction],
        active: str,
        asked: Asked,
        written: dict[str, Region],
        *,
        make: bool = False,
        joins: bool = True,
        onto: SegmentStep | None = None,
    ) -> Iterator[None]:
        """Write every segment that is not what the scene shows, one by one; ``written``, by ID, is filled.

        ``make``: the active segment is not there yet. ``onto`` the last step, it is part of that.
        """
        # By ID from here on, whatever segments are called meanwhile.
        ids = {name: self._names.id_of(name) for name in {*answers, *self.session.prompts.names}}
        prompted = {i: self.session.prompts[n] for n, i in ids.items() if i is not None and n in self.session.prompts}
        by_id = {i: answers[name] for name, i in ids.items() if i is not None and name in answers}
        new = answers[active] if make else None
        writing = Writing(asked, ids.get(active), by_id, prompted, written)
        return self._writing_by_id(writing, new, joins, onto)

    def _writing_by_id(
        self, writing: Writing, new: Prediction | None, joins: bool, onto: SegmentStep | None
    ) -> Iterator[None]:
        yield
        known = self._history.known
        shown = {i: p for i, p in known.shown.items() if i in writing.prompts}
        step = onto
        if step is None and joins and self._history.goes_on and self._history.last is not None:
            step = self._history.last.changes
        step = self._writer.begin_step() if step is None else step
        first = len(step.parts)
        try:
            self._writer.history.go_on(step)
            if new is not None:
                self._make(new, writing)
            # The active segment last, so that it has the last word where segments meet.
            for segment_id in [*self._unprompted(shown), *sorted(writing.answers, key=lambda i: i == writing.active)]:
                # Somebody may have made a step of his own in between.
                self._writer.history.go_on(step)
                self._writer.masking = None if self._masking is None else self._masking()
                before = known.shown.get(segment_id)
                region = yield from self._write_one(segment_id, writing, before)
                if segment_id in writing.answers:
                    shown[segment_id] = writing.answers[segment_id]
                if region is not None:
                    writing.written[segment_id] = region
        except BaseException:
            self._writer.take_back(step, first)
            del step.parts[first:]
            raise
        answered = {**known.answered, **{i: m for i, m in writing.asked.markups.items() if i in shown}}
        session = self.session
        now = replace(
            self._history.known, prompts=session.prompts, shown=shown, models=session.models, answered=answered
        )
        self._history.push(now, step, joins=joins, onto=onto)

    def _make(self, new: Prediction, writing: Writing) -> None:
        """Make the active segment."""
        writing.active = self._writer.add(new.segment)
        self._names.give(writing.active, new.segment)
        writing.answers[writing.active] = new

    def _unprompted(self, shown: Mapping[str, Prediction]) -> list[str]:
        """Segments whose prompts were deleted: nothing says any more where they are, unless they were there before."""
        before = self._history.known.shown
        return [i for i in self._names.known() if i in before and i not in shown and i not in self._made_elsewhere]

    def _write_one(
        self, segment_id: str, writing: Writing, before: Prediction | None
    ) -> Generator[None, None, Region | None]:
        """Write one segment; the region that was written, None if its voxels are as before, or may not change."""
        # What was removed while it was computed stays so.
        if not self._writer.has(segment_id) or segment_id in self._locked():
            return None
        asked = writing.asked
        now = writing.answers.get(segment_id)
        is_active, work = segment_id == writing.active, asked.works.get(segment_id)
        if now is None:
            assert before is not None
            now = _empty(before)
        elif work is not None:
            was, now = work.changed_by(now, writing.prompts[segment_id], before)
            before, is_active = asked.before.get(segment_id, was), False
            asked.before[segment_id] = now
        elif segment_id in asked.before:
            before, is_active = asked.before[segment_id], False
        elif not is_active and self._was_edited(segment_id, now, before):
            # Others' prompts are no reason to change what somebody has put right; they take the voxels they get.
            return None
        # What the scene showed before is only known of segments that were written here.
        region: Region | None = now.region
        if before is not None:
            region = changed_region({"": before}, {"": now})
        if region is None:
            return None
        # Of the others only voxels won or lost are touched, so that what was edited by hand there stays.
        since = None if is_active else before
        yield from self._writer.writing(
            now,
            segment_id,
            region=region,
            since=since,
            overwrite=asked.overwrite,
            locked=self._locked(),
            undo_step=False,
        )
        self._held_back[segment_id] = self._writer.held_back_ml
        return region

    def _was_edited(self, segment_id: str, now: Prediction, before: Prediction | None) -> bool:
        """Whether a segment whose answer is another now holds more than answers, or less."""
        return before is not None and before is not now and self._writer.history.has_other_work(segment_id)

    def _locked(self) -> frozenset[str]:
        """IDs of the segments that are locked in the session or completed in the scene."""
        ids = [self._names.id_of(name) for name in self.session.locked]
        return self._writer.locked(i for i in ids if i is not None)

    def _check_unlocked(self, segment_id: str, to: str) -> None:
        if segment_id in self._locked():
            raise InputError(f"Segment '{self._writer.name(segment_id)}' is locked: unlock it to {to}.")

    def _check_current(self) -> None:
        if not self.is_current:
            raise InputError(f"The image '{name_of(self.volume_node)}' has changed: start again on it.")

    def _by_name(self, written: Mapping[str, Region]) -> dict[str, Region]:
        return {self._writer.name(i): region for i, region in written.items()}

    # ---- from the prompts in the scene -----------------------------------------------------------------------

    def note_prompts(self) -> bool:
        """Make one step for undo of what was done to the prompt nodes since the last one; false if nothing was."""
        markups = self.store.snapshot()
        if markups == self._history.known.markups:
            return False
        self.finish_writing()
        # The first prompt of a segment that was made for it is one step with it.
        known = replace(self._history.known, markups=markups)
        # Who tidies markups away in the scene has finished with the segments.
        taken = {i for i in self.store.removed_elsewhere(self._history.known.markups) if self._has_voxels(i)}
        if taken:
            answered = {**known.answered, **{i: markups_of(i, markups) for i in taken}}
            shown = {i: p for i, p in known.shown.items() if i not in taken}
            known = replace(known, shown=shown, answered=answered)
            self._tidied |= taken
        self._history.push(known, None, joins=self._history.goes_on, is_open=True)
        return True

    def prompts_seen(self, segment_id: str) -> int:
        """How many points inside a segment there were at the last `note_prompts`."""
        kept = (k for k in self._history.known.markups if k.segment_id == segment_id and k.role == "inside")
        return sum(len(k.points) for k in kept)

    def set_options(self, *, method: Method, samples: int, seed: int, model: str = "") -> None:
        """How to predict from now on; see `Options`."""
        self.session.options = replace(self.session.options, method=method, samples=samples, seed=seed, model=model)

    def is_answered(self, segment_id: str) -> bool:
        """Whether the scene shows the answer to the prompts that a segment has now, or has none to answer."""
        markups = self._markups_of(segment_id)
        return not markups or self._history.known.answered.get(segment_id) == markups

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
        self.finish_writing()
        self.note_prompts()
        if segment_id in self._tidied:
            self._tidied.discard(segment_id)
            return SceneJob(lambda job: self._leaving(job, segment_id))
        asked = self._ask(segment_id, overwrite)
        self._job = SceneJob(lambda job: self._answering(job, asked))
        return self._job

    def _leaving(self, job: SceneJob[Applied], segment_id: str) -> Iterator[None]:
        """Nothing is done to a segment whose prompts were removed elsewhere."""
        name = self._writer.name(segment_id)
        text = f"Prompts of '{name}' were removed from the scene: the segment stays as it is. Undo brings them back."
        job.give(Applied(segment_id, None, {}, text))
        yield from ()

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
        self.finish_writing()
        ids = self.store.prompted() if segment_ids is None else list(segment_ids)
        ids = [i for i in ids if i not in self._writer.locked()]
        if not ids:
            raise InputError("There is nothing to refine: place prompts on an unlocked segment first.")
        asked = self._ask(ids[-1], overwrite, ids)
        ids = [i for i in ids if self._names.of(i) in self.session.prompts]
        self._job = SceneJob(lambda job: self._refining(job, asked, ids, budget_s))
        return self._job

    def finish_writing(self) -> None:
        """Bring a segment that is being written to its end now: nobody is to see, or keep, half of one."""
        if self._job is not None:
            self._job.finish_writing()

    def _ask(self, segment_id: str, overwrite: OverwriteMode, also: Sequence[str] = ()) -> Asked:
        """Bring the prompts in the scene into the session: those of ``also`` and of all that do not rest."""
        self._check_current()
        self.note_prompts()
        self._check_there(segment_id)
        self._check_unlocked(segment_id, "change it")
        self._follow_names()
        self._writer.follow_name(segment_id)
        wake = {segment_id, *also}
        ids = [i for i in self.store.prompted() if i in wake or not self._rests(i)]
        prompts = {i: self.store.prompts(i, self._names.of(i)) for i in ids}
        prompts, works = self._with_works({i: p for i, p in prompts.items() if len(p)}, segment_id, also)
        name = self._names.of(segment_id)
        wanted = self._with_others_as_known(PromptSet(tuple(prompts.values())), name)
        if name in wanted and not wanted[name].has_positive:
            raise InputError(f"Segment '{name}' has only negative prompts: also mark where it is.")
        self.session.allow_overlap = overwrite == "none"
        if wanted != self.session.prompts:
            self.session.prompts = wanted
        for i, work in works.items():
            self.session.go_by(self._names.of(i), work.as_answer(prompts[i]))
        return Asked(segment_id, overwrite, {i: self._markups_of(i) for i in ids}, works)

    def _with_others_as_known(self, wanted: PromptSet, name: str) -> PromptSet:
        """``wanted``, but what cannot be meant of other segments does not stand in the way of ``name``: they stay."""
        before = self.session.prompts
        for segment in wanted:
            if segment.name != name and not can_be_meant(segment, self._grid):
                known = segment.name in before
                wanted = wanted.with_segment(before[segment.name]) if known else wanted.without_segment(segment.name)
        return wanted

    def _with_works(
        self, prompts: dict[str, SegmentPrompts], active: str, also: Sequence[str]
    ) -> tuple[dict[str, SegmentPrompts], dict[str, EarlierWork]]:
        """What is asked; and the work in the active segment, and in others that are answered for the first time."""
        known, works = self._history.known, {}
        for i, asked in prompts.items():
            # What is refined is changed only where its answer becomes another.
            if i not in also and (i == active or i not in known.shown):
                work = self._work_in(i, self.store.prompts_in(known.answered.get(i, ()), i, asked.name))
                if work is not None and not asked.has_positive:
                    self._stand_ins[i] = place = work.inner_point(asked)
                    work = replace(work, answered=work.answered.with_prompt(place))
                if work is not None:
                    works[i] = work
                    self._made_elsewhere |= {i} - known.shown.keys()
            if not asked.has_positive and i in self._stand_ins:
                # Negative prompts alone say where a segment ends that was there before, but not where to look for it.
                prompts[i] = asked.with_prompt(self._stand_ins[i])
        return prompts, works

    def _work_in(self, segment_id: str, answered: SegmentPrompts) -> EarlierWork | None:
        """What a segment holds, if that is not just what an answer that is known has made of it."""
        if segment_id in self._history.known.shown and not self._writer.history.has_other_work(segment_id):
            return None
        return EarlierWork.of(self.segmentation_node, segment_id, self.volume_node, answered)

    def _rests(self, segment_id: str) -> bool:
        """Whether a segment came with its voxels, and has not been prompted since."""
        known = self._history.known
        return segment_id not in known.shown and known.answered.get(segment_id) == self._markups_of(segment_id)

    def _answering(self, job: SceneJob[Applied], asked: Asked) -> Iterator[None]:
        segment_id = asked.segment_id
        answered = [s.name for s in self.session.prompts if s.has_positive]
        prediction: Prediction | None = None
        written: dict[str, Region] = {}
        name = self._names.of(segment_id)
        about = self._names.id_of(name if name in answered else (answered or [""])[-1]) or segment_id
        share = 1.0 / max(1, len({*self.session.unanswered(), self._names.of(about)}))
        if answered:
            found = yield from job.follow(self.session.start_predict(self._names.of(about), alone=True), 0.0, share)
            prediction = found if about == segment_id else None
        self._check_there(segment_id)
        self._follow_names()
        yield from job.finishing(self._writing_said(asked, written))
        if answered and self.session.unanswered():
            # It is shown first.
            yield
            yield from self._answering_others(job, about, asked, written, share)
        job.give(self._applied(segment_id, prediction, written))

    def _applied(self, segment_id: str, prediction: Prediction | None, written: Mapping[str, Region]) -> Applied:
        """What came of it, under the names of now."""
        name = self._writer.name(segment_id)
        notes = [_RESAMPLED] if self.resamples else []
        if self._names.shared(segment_id):
            notes.append(f"Another segment is called '{name}', too: rename one, or they cannot be exported.")
        if prediction is None:
            stays = self._has_voxels(segment_id)
            notes = [_VOXELS_STAY.format(name=name) if stays else "The segment has no prompts any more: it is empty."]
        prediction = None if prediction is None else replace(prediction, segment=name)
        volume_ml = segment_ml(self.segmentation_node, segment_id)
        return Applied(
            segment_id,
            prediction,
            self._by_name(written),
            " ".join(notes),
            volume_ml,
            self._held_back.get(segment_id, 0.0),
        )

    def _writing_said(
        self, asked: Asked, written: dict[str, Region], onto: SegmentStep | None = None
    ) -> Iterator[None]:
        said = {n: p for n, p in self.session.said.items() if self.session.prompts[n].has_positive}
        name = self._names.of(asked.segment_id)
        return self._writing(said, name, asked, written, onto=onto)

    def _check_there(self, segment_id: str) -> None:
        if not self._writer.has(segment_id):
            raise InputError("The segment was removed from the scene meanwhile: nothing was written.")

    def _answering_others(
        self, job: SceneJob[Applied], about: str, asked: Asked, written: dict[str, Region], share: float
    ) -> Iterator[None]:
        """The segments that the prompts of the one that was written make different; one step of undo with it."""
        step = self._history.last
        try:
            yield from job.follow(self.session.start_predict(self._names.of(about)), share, 1.0)
        except Cancelled:
            # They are asked again with the next prompt.
            return
        last = self._history.last
        if step is not None and last is not None and last.changes is step.changes:
            self._follow_names()
            yield from job.finishing(self._writing_said(asked, written, onto=step.changes))

    def _refining(self, job: SceneJob[Refined], asked: Asked, ids: Sequence[str], budget_s: float) -> Iterator[None]:
        name = self._names.of(asked.segment_id)
        yield from job.follow(self.session.start_predict(name), 0.0, 0.1)
        # Of segments that rested only what refining makes different is written.
        said, known = self.session.said, self._history.known
        asked.before.update(
            {i: p for i in ids if i not in known.shown and i in known.answered and (p := said.get(self._names.of(i)))}
        )
        asked.before.update({i: known.shown[i] for i in ids if i in known.shown})
        names = [self._names.of(i) for i in ids]
        reports = yield from job.follow(self.session.start_finetune(budget_s, names), 0.1, 0.9)
        self._follow_names()
        name = self._names.of(asked.segment_id)
        yield from job.follow(self.session.start_predict(name), 0.9, 1.0)
        written: dict[str, Region] = {}
        answers = self.session.predictions()
        self._follow_names()
        writing = self._writing(answers, name, asked, written, joins=False)
        yield from job.finishing(writing)
        job.give(Refined(reports, self._by_name(written)))

    @property
    def resamples(self) -> bool:
        """Whether the segmentation has a geometry of its own, to which segments are resampled."""
        return self._writer.resamples

    def _markups_of(self, segment_id: str) -> Snapshot:
        return markups_of(segment_id, self.store.snapshot())

    def _has_voxels(self, segment_id: str) -> bool:
        stored = segment_labelmap(self.segmentation_node, segment_id)
        return stored is not None and bool(stored.array.any())

    def _follow_names(self) -> None:
        """Let the session know of segments that were given another name in the scene."""
        names = self._names.follow()
        if names:
            self.session.follow_names(names)
            self._history.rename(names)

    # ---- segments --------------------------------------------------------------------------------------------

    def add_segment(self, name: str, *, for_prompt: bool = False) -> str:
        """Make an empty segment; its ID. One undo takes it back, and its first prompt too if made ``for_prompt``."""
        self.finish_writing()
        self.note_prompts()
        step = self._writer.begin_step()
        segment_id = self._writer.add(name)
        self._history.push(self._history.known, step, is_open=for_prompt)
        return segment_id

    def remove_segment(self, segment_id: str) -> None:
        """Remove a segment with its prompts and overlays. Raises `InputError` if it is locked."""
        self.finish_writing()
        self._check_unlocked(segment_id, "remove it")
        self.note_prompts()
        self.store.delete_segment(segment_id)
        step = self._writer.begin_step()
        self._writer.remove(segment_id)
        known = self._history.known
        shown = {i: p for i, p in known.shown.items() if i != segment_id}
        self._history.push(replace(known, shown=shown, markups=self.store.snapshot()), step)

    # ---- undo ------------------------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back."""
        return self._history.last is not None or self.store.snapshot() != self._history.known.markups

    @property
    def can_redo(self) -> bool:
        """Whether there is something to do again."""
        return self._history.next is not None

    def undo(self) -> bool:
        """Take the last step back: what it wrote, overlays, prompts; false if there is none.

        Nodes given to `apply` stay as they are, the user may want them; those of `store` go back, too. What was edited
        elsewhere since then stays, as do names, colours and all that was said of segments; where that is why something
        could not be taken back, `note` says so.

        Raises
        ------
        InputError
            If the step is about a segment that is locked by now.
        """
        return self._stepped(self.start_undo())

    def redo(self) -> bool:
        """Do the step undone last again, as `undo`; false if there is none."""
        return self._stepped(self.start_redo())

    def start_undo(self) -> Job[None] | None:
        """Begin to `undo`; None if there is nothing to take back. Raises as that does.

        Prompts are back when this returns, and voxels when the job has ended; overlays are left to `start_overlays`.
        """
        self.finish_writing()
        self.note_prompts()
        step = self._history.last
        if step is None:
            return None
        self._check_may_step(step, "take its last step back")
        self._history.back()
        return self._start_step(step.before, step.changes, forward=False)

    def start_redo(self) -> Job[None] | None:
        """Begin to `redo`, as `start_undo`."""
        self.finish_writing()
        self.note_prompts()
        step = self._history.next
        if step is None:
            return None
        self._check_may_step(step, "do that step again")
        self._history.forward()
        return self._start_step(step.after, step.changes, forward=True)

    def _stepped(self, job: Job[None] | None) -> bool:
        if job is None:
            return False
        self.finish_writing()
        job.result()
        self._show_overlays("")
        return True

    def _start_step(self, known: Known, changes: SegmentStep | None, *, forward: bool) -> Job[None]:
        left, self.note = Left(), ""
        steps: Iterator[None] = iter(()) if changes is None else self._writer.stepping(changes, left, forward=forward)
        # Segments that come back, for the prompts need them.
        next(steps, None)
        self._follow_names()
        self._tidied.clear()
        self.store.restore(known.markups)
        # What could not be put back, of a segment that is gone, is not known either.
        self._history.known = replace(known, markups=self.store.snapshot())
        rewind(self.session, known.prompts, known.models)

        def rest() -> Iterator[None]:
            yield from steps
            self.note = left.note

        job: SceneJob[None] = SceneJob(lambda job: job.finishing(rest()), is_writing=True)
        self._job = job
        return job

    def _check_may_step(self, step: Step, to: str) -> None:
        for segment_id in self._writer.locked():
            if step.touches(segment_id):
                self._check_unlocked(segment_id, to)

    # ---- overlays --------------------------------------------------------------------------------------------

    def overlay(self, segment: str, kind: OverlayKind) -> Node | None:
        """The volume node that shows a segment's probability or uncertainty; None if there is none (any more)."""
        segment_id = self._writer.segment_id(segment) or self._names.id_of(segment)
        return None if segment_id is None else self._overlays.node(segment_id, kind)

    def start_overlays(self, segment_id: str | None = None, kind: OverlayKind | None = None) -> Job[Node | None]:
        """Begin to bring the overlays up to date; with a segment and a kind also this one, made if there is none.

        The result is its node, None where nothing is known of the segment. Given up, a later job goes on.
        """
        if segment_id is not None and kind is not None:
            self._overlays.want(segment_id, kind, self.prediction(segment_id))
        return SceneJob(lambda job: self._overlaying(job, segment_id, kind))

    def _overlaying(
        self, job: SceneJob[Node | None], segment_id: str | None, kind: OverlayKind | None
    ) -> Iterator[None]:
        yield from job.finishing(self._overlays.updating(self._history.known.shown))
        job.give(None if segment_id is None or kind is None else self._overlays.node(segment_id, kind))

    def _show_overlays(self, segment_id: str, *, probability: bool = False, uncertainty: bool = False) -> None:
        """Bring all overlays up to date now, and make those of a segment that are wanted."""
        kinds: tuple[tuple[OverlayKind, bool], ...] = (("probability", probability), ("uncertainty", uncertainty))
        for kind, wanted in kinds:
            if wanted:
                self._overlays.want(segment_id, kind, self.prediction(segment_id))
        for _ in self._overlays.updating(self._history.known.shown):
            pass

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
        """What was answered of a segment last; None if it was not predicted here."""
        self._follow_names()
        return self._history.known.shown.get(segment_id)


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
