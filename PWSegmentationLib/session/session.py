"""The one object every front end drives: an image, prompts, predictions, undo, fine-tuning, export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import shipped_weights
from PWSegmentationLib.prediction.earlier_answer import EarlierAnswer
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.progress import Cancel, Progress, part_of
from PWSegmentationLib.prompts.checks import check_claims, check_complete, check_placement
from PWSegmentationLib.prompts.json_format import prompts_from_dict
from PWSegmentationLib.prompts.prompts import (
    IDENTITY,
    Box,
    Point,
    Prompt,
    PromptSet,
    Scribble,
    SegmentPrompts,
    Strokes,
)
from PWSegmentationLib.segments.competition import changed_region, settle
from PWSegmentationLib.session.engine import Engine, FinetuneReport, Method, Options, Request
from PWSegmentationLib.session.renaming import renamed_keys, renamed_set, renamed_state
from PWSegmentationLib.volume.volume import Volume

if TYPE_CHECKING:
    from PWSegmentationLib.session.jobs import Job
    from PWSegmentationLib.session.session_jobs import FinetuneJob, PredictJob

# Predictions kept for undo; older ones are computed again when asked for.
_HISTORY_BYTES = 512 * 1024**2
_HISTORY_STEPS = 200


@dataclass(frozen=True)
class _Question:
    """All that an answer depends on."""

    request: Request
    options: Options
    model: Any


@dataclass(frozen=True)
class _Answer:
    """A prediction before segments compete, with the question it answers: others' claims in the region it is about."""

    request: Request
    options: Options
    model: Any
    prediction: Prediction


@dataclass(frozen=True)
class _Earlier:
    """An answer that the next one may go by, if it comes from the same model."""

    answer: EarlierAnswer
    options: Options
    model: Any


@dataclass(frozen=True)
class _Fitted:
    """What `finetune` fitted to a segment, None where the label alone is better, and the prompts it was fitted to."""

    model: Any
    prompts: SegmentPrompts


@dataclass(frozen=True)
class _State:
    """Everything undo brings back. Never changed in place, except that answers are filled in.

    ``earlier`` is what had been said before a segment's last prompts: an answer that is computed again is the same.
    """

    prompts: PromptSet = field(default_factory=PromptSet)
    active: str | None = None
    frozen: Mapping[str, Prediction | None] = field(default_factory=dict)
    models: Mapping[str, _Fitted] = field(default_factory=dict)
    answers: dict[str, _Answer] = field(default_factory=dict)
    earlier: Mapping[str, _Earlier] = field(default_factory=dict)


class Session:
    """Segments of one image from a few prompts.

    World positions are mm, RAS; arrays are indexed ``[i, j, k]`` (see `PWSegmentationLib.volume.grid`).

    Parameters
    ----------
    device
        "cpu", "cuda", ... or "auto" for a GPU when there is one.
    seed
        The same seed and prompts, predicted in the same steps, give the same segments on the same device.
    method
        "network" (which "auto" picks): the promptable network on the image-aware label; "image-aware" or "gaussian":
        that label alone.
    samples
        Draws of the attention of a network that `finetune` fits to the label, whose probabilities are averaged.
    model
        File of a promptable network to use in place of the one that ships.
    allow_overlap
        Whether a voxel may belong to several segments.
    engine
        Where the work is done; by default in this process.

    Examples
    --------
    >>> session = Session()
    >>> session.set_image(array, affine)
    >>> session.add_point("liver", (54.0, 19.0, -217.0))  # mm, RAS: +x is the patient's right
    >>> liver = session.predict()
    >>> liver.mask.sum(), liver.volume_ml
    """

    def __init__(
        self,
        device: str = "auto",
        seed: int = 0,
        *,
        method: Method = "auto",
        samples: int = 6,
        model: str | Path = "",
        allow_overlap: bool = False,
        engine: Engine | None = None,
    ) -> None:
        if engine is None:
            from PWSegmentationLib.session.local import LocalEngine

            engine = LocalEngine(device)
        self._engine = engine
        self.options = Options(method=method, samples=samples, seed=seed, model=str(model))
        self.allow_overlap = allow_overlap
        self._volume: Volume | None = None
        self._job: PredictJob | FinetuneJob | None = None
        self._forget()

    def _forget(self) -> None:
        self._state = _State()
        self._undo: list[_State] = []
        self._redo: list[_State] = []
        self._said: dict[str, Prediction] = {}

    # ---- image ------------------------------------------------------------------------------------------------

    def set_image(self, array: ArrayLike, affine: ArrayLike) -> None:
        """Start on an image: ``array`` ``[i, j, k]``, not copied, and its IJK-to-RAS ``affine``, mm.

        Prompts and segments of the image before are dropped. Raises `InputError` for an unusable image.
        """
        self.set_volume(Volume.from_array(array, affine))

    def set_volume(self, volume: Volume) -> None:
        """Start on a `Volume`, as `set_image`."""
        self._abandon_job()
        self._engine.set_image(volume)
        self._volume = volume
        self._forget()

    @property
    def volume(self) -> Volume:
        """The image. Raises `InputError` before `set_image`."""
        if self._volume is None:
            raise InputError("There is no image yet: set one before placing prompts.")
        return self._volume

    # ---- prompts ----------------------------------------------------------------------------------------------

    def add_point(self, segment: str, position: Sequence[float], positive: bool = True) -> None:
        """Say that ``position`` (mm, RAS) is in ``segment``, or is not."""
        self._add(segment, Point(position, positive))  # type: ignore[arg-type]

    def add_box(
        self,
        segment: str,
        center: Sequence[float],
        size: Sequence[float],
        orientation: ArrayLike | None = None,
    ) -> None:
        """Say that ``segment`` lies inside a box: ``center`` and ``size`` in mm, ``orientation`` as in a Slicer ROI."""
        axes = IDENTITY if orientation is None else orientation
        self._add(segment, Box(center, size, axes))  # type: ignore[arg-type]

    def add_scribble(
        self, segment: str, points: Sequence[Sequence[float]], radius: float, positive: bool = True
    ) -> None:
        """Paint along the polyline ``points`` (mm, RAS) with a round brush of ``radius`` mm."""
        self._add(segment, Scribble(points, radius, positive))  # type: ignore[arg-type]

    def add_strokes(self, segment: str, labelmap: ArrayLike, affine: ArrayLike | None = None) -> None:
        """Add painted voxels: 1 inside ``segment``, 2 outside, 0 not painted.

        ``labelmap`` is on the image's grid unless it brings its own ``affine``.
        """
        if affine is None:
            labelmap = np.asarray(labelmap)
            if labelmap.shape != self.volume.grid.shape:
                raise InputError(
                    f"The stroke labelmap has shape {labelmap.shape} and the image {self.volume.grid.shape}: "
                    "give the labelmap's own affine."
                )
            affine = self.volume.grid.affine
        self._add(segment, Strokes.from_labelmap(labelmap, affine))

    def add_prompt(self, segment: str, prompt: Prompt) -> None:
        """Add any prompt object to ``segment``."""
        self._add(segment, prompt)

    def remove_prompt(self, segment: str, prompt: Prompt) -> None:
        """Take one prompt of ``segment`` back, wherever it stands in the history."""
        self._check_unlocked(segment)
        changed = self.prompts[segment].without_prompt(prompt)
        self._do(prompts=self.prompts.with_segment(changed), active=segment)

    @property
    def prompts(self) -> PromptSet:
        """All prompts. Assign a `PromptSet` (or its dictionary form) to bring a session back."""
        return self._state.prompts

    @prompts.setter
    def prompts(self, prompts: PromptSet | Mapping[str, Any]) -> None:
        if not isinstance(prompts, PromptSet):
            prompts = prompts_from_dict(prompts)
        for segment in prompts:
            check_placement(segment, self.volume.grid)
        self._check_claims(prompts)
        for name in self.locked:
            if name not in prompts or prompts[name] != self.prompts[name]:
                raise InputError(f"Segment '{name}' is locked: unlock it before replacing the prompts.")
        self._do(prompts=prompts, active=prompts.names[-1] if prompts.names else None)

    def _add(self, name: str, prompt: Prompt) -> None:
        self._check_unlocked(name)
        prompts = self.prompts.with_prompt(name, prompt)
        check_placement(prompts[name], self.volume.grid)
        self._check_claims(prompts)
        self._do(prompts=prompts, active=name)

    def _check_claims(self, prompts: PromptSet) -> None:
        if not self.allow_overlap:
            check_claims(prompts, self.volume.grid)

    # ---- segments ---------------------------------------------------------------------------------------------

    @property
    def segments(self) -> tuple[str, ...]:
        """Names of the segments, in the order they were first prompted."""
        return self.prompts.names

    @property
    def active(self) -> str | None:
        """The segment prompted last, which `predict` answers when it is not told another."""
        return self._state.active

    @property
    def locked(self) -> frozenset[str]:
        """Names of the locked segments."""
        return frozenset(self._state.frozen)

    @property
    def models(self) -> Mapping[str, Any]:
        """What `finetune` fitted, by segment; None where the label alone is better.

        A network goes when one of the prompts does that it was fitted to: it may know another structure.
        """
        return {name: fitted.model for name, fitted in self._state.models.items()}

    def add_segment(self, name: str) -> None:
        """Make an empty segment (prompting a new name does the same)."""
        if name in self.prompts:
            raise InputError(f"There already is a segment '{name}'.")
        self._do(prompts=self.prompts.with_segment(SegmentPrompts(name)), active=name)

    def rename_segment(self, name: str, new_name: str) -> None:
        """Give a segment another name; its prompts, mask and lock stay."""
        if new_name == name:
            return
        if new_name in self.prompts:
            raise InputError(f"There already is a segment '{new_name}'.")
        self.prompts[name]
        names = {name: new_name}
        kept = {kind: renamed_keys(getattr(self._state, kind), names) for kind in ("models", "frozen", "earlier")}
        self._do(prompts=renamed_set(self.prompts, names), active=new_name, **kept)

    def follow_names(self, names: Mapping[str, str]) -> None:
        """Segments are called otherwise (new names by old ones) and always were: in the history and a running job, too.

        No step to undo, and no answer is lost.
        """
        self._state = renamed_state(self._state, names)
        self._undo = [renamed_state(state, names) for state in self._undo]
        self._redo = [renamed_state(state, names) for state in self._redo]
        self._said = {n: replace(p, segment=n) for n, p in renamed_keys(self._said, names).items()}
        if self._job is not None:
            self._job.follow_names(names)

    def remove_segment(self, name: str) -> None:
        """Remove a segment with its prompts. Raises `InputError` if it is locked or unknown."""
        self._check_unlocked(name)
        prompts = self.prompts.without_segment(name)
        active = self.active if self.active != name else (prompts.names[-1] if prompts.names else None)
        self._do(prompts=prompts, active=active)

    def clear(self, segment: str) -> None:
        """Take all prompts of a segment back; the segment stays, empty."""
        self._check_unlocked(segment)
        self.prompts[segment]
        self._do(prompts=self.prompts.with_segment(SegmentPrompts(segment)), active=segment)

    def lock(self, segment: str, locked: bool = True) -> None:
        """Freeze a segment as it was last predicted: neither prompts nor other segments change it; or release it.

        Where its own prompts have changed since, they are answered first; without prompts it is frozen empty. Raises
        `InputError` if they do not say where it is.
        """
        prompts = self.prompts[segment]
        if locked and segment not in self.locked:
            self._do(frozen={**self._state.frozen, segment: self._to_freeze(segment) if len(prompts) else None})
        elif not locked and segment in self.locked:
            self._do(frozen={n: p for n, p in self._state.frozen.items() if n != segment})

    def _to_freeze(self, name: str) -> Prediction:
        """What was said of a segment, if that answers its prompts of now; else what there is to say."""
        said, answer = self._said.get(name), self._state.answers.get(name)
        if said is not None and answer is not None:
            # Competition leaves probabilities alone; before an undo, another answer was said.
            is_it = said.region_probability is answer.prediction.region_probability
            if is_it and answer.request.segment == self.prompts[name]:
                return said
        check_complete(self.prompts[name])
        self._answer_all(name, None, None)
        return self._settled()[name]

    def _check_unlocked(self, name: str) -> None:
        if name in self.locked:
            raise InputError(f"Segment '{name}' is locked: unlock it to change it.")

    # ---- undo -------------------------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return bool(self._redo)

    def undo(self) -> bool:
        """Take the last change of prompts, segments, locks or models back; false if there is none."""
        return self._step(self._undo, self._redo)

    def redo(self) -> bool:
        """Bring the change undone last back; false if there is none."""
        return self._step(self._redo, self._undo)

    def _step(self, source: list[_State], target: list[_State]) -> bool:
        if not source:
            return False
        target.append(self._state)
        self._state = source.pop()
        return True

    def _do(self, **changes: Any) -> None:
        self._undo.append(self._state)
        self._redo.clear()
        prompts = changes.get("prompts", self.prompts)
        if "earlier" not in changes:
            changes["earlier"] = self._earlier(prompts)
        models = changes.get("models", self._state.models)
        changes["models"] = {n: m for n, m in models.items() if n in prompts and prompts[n].holds(m.prompts)}
        self._state = replace(self._state, **changes, answers=dict(self._state.answers))
        del self._undo[:-_HISTORY_STEPS]
        self._trim_history()

    def _earlier(self, prompts: PromptSet) -> dict[str, _Earlier]:
        """What the answers to ``prompts`` may go by: the last ones to what each segment's prompts were before."""
        found = {name: earlier for name, earlier in self._state.earlier.items() if name in prompts}
        for name, each in self._state.answers.items():
            grid, probability = each.prediction.working_grid, each.prediction.working_probability
            # An answer may be to a segment that is gone, or has come again under the same name.
            is_new = name in prompts and name in self.prompts and prompts[name] != self.prompts[name]
            if not is_new or grid is None or probability is None:
                continue
            answer = EarlierAnswer(each.request.segment, each.request.others, grid, probability)
            found[name] = _Earlier(answer, each.options, each.model)
        return found

    def go_by(self, name: str, answer: EarlierAnswer) -> None:
        """Let the next answer of a segment go by ``answer``, which somebody else gave, to fewer prompts."""
        model = self.models.get(name)
        earlier = _Earlier(replace(answer, others=self._others(name)), self.options, model)
        self._state = replace(self._state, earlier={**self._state.earlier, name: earlier})

    def _trim_history(self) -> None:
        """Drop the answers of old states beyond the memory limit; the same prompts give them again."""
        held: set[int] = set()
        total = 0
        for state in (self._state, *reversed(self._undo), *self._redo):
            fresh = [a for a in state.answers.values() if id(a) not in held]
            total += sum(a.prediction.nbytes for a in fresh)
            held.update(id(a) for a in fresh)
            if total > _HISTORY_BYTES and state is not self._state:
                state.answers.clear()

    # ---- answers ----------------------------------------------------------------------------------------------

    def predict(
        self, segment: str | None = None, *, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> Prediction:
        """Answer the prompts: every segment whose question changed is computed, ``segment``'s answer is returned.

        Without a name, the segment prompted last is meant. A new prompt of one segment also asks those segments
        again whose region it lies in. `Prediction.changed` is the bounding box of all voxels, of any segment, that
        differ from what earlier calls said, so that a front end writes no more than that.

        Raises
        ------
        InputError
            If there is no image, no such segment, the segment has no prompt that says where it is, or it was locked
            without one.
        Cancelled
            If ``cancel`` returned true; everything is as before.
        """
        name = self._answerable(segment)
        self._answer_all(name, progress, cancel)
        settled = self._settled()
        prediction = replace(settled[name], changed=changed_region(self._said, settled))
        self._said = settled
        return prediction

    def _answerable(self, segment: str | None) -> str:
        """The name of the segment that is meant; an `InputError` if it cannot be predicted."""
        self.volume  # noqa: B018 - raises the sentence about a missing image first
        name = segment if segment is not None else self.active
        if name is None:
            raise InputError("There are no prompts: place a point, a box or a scribble on the structure first.")
        if name not in self.locked:
            check_complete(self.prompts[name])
        elif self._state.frozen[name] is None:
            raise InputError(f"Segment '{name}' is locked and empty: unlock it and place a point or a box on it first.")
        return name

    @property
    def said(self) -> dict[str, Prediction]:
        """Every segment as the last `predict`, or the last job that ended, left it; nothing is computed."""
        return {name: prediction for name, prediction in self._said.items() if name in self.prompts}

    def predictions(self, *, progress: Progress | None = None, cancel: Cancel | None = None) -> dict[str, Prediction]:
        """The prediction of every segment that has prompts, computed where needed.

        Nothing counts as said by it: the next `predict` still tells all that changed since the last one.
        """
        due = [n for n in self._due() if self.prompts[n].has_positive]
        if due:
            self._answer_all(due[-1], progress, cancel)
        return {n: p for n, p in self._settled().items() if n in self.locked or n in due}

    def labelmap(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """One array ``[i, j, k]`` in which the k-th segment (from 1, in `segments` order) has the value k."""
        dtype = np.uint8 if len(self.segments) < 256 else np.uint16
        out = np.zeros(self.volume.grid.shape, dtype)
        predictions = self.predictions()
        for value, name in enumerate(self.segments, start=1):
            if name in predictions:
                out[predictions[name].region.slices][predictions[name].region_mask] = value
        return out

    def export(self, path: str | Path, **options: Any) -> tuple[Path, ...]:
        """Write all segments to a file, how they came about beside it; the files written.

        ``.seg.nrrd``, ``.seg.dcm``, a labelmap ``.nii.gz``, ``.nrrd``, ``.mha``, or surfaces ``.stl``, ``.obj``,
        ``.ply``. See `PWSegmentationLib.export.writing.write_segments` for the options (colours, values, ...).
        """
        from PWSegmentationLib.export.writing import write_segments

        predictions = self.predictions()
        options.setdefault("provenance", self.provenance())
        return write_segments(predictions, self.volume.grid, path, names=self.segments, **options)

    def provenance(self, *, by: str = "", dated: bool = False) -> dict[str, Any]:
        """How the segments came about, see `PWSegmentationLib.export.provenance`; who and when only if asked for.

        Nothing is computed: segments that were not predicted yet have no method.
        """
        from PWSegmentationLib.export.provenance import provenance

        settings = {**asdict(self.options), "allow_overlap": self.allow_overlap}
        seed, model = settings.pop("seed"), settings.pop("model")
        weights = Path(model) if model else shipped_weights()
        return provenance(
            self.volume,
            prompts=self.prompts,
            seed=seed,
            settings=settings,
            model=weights if self.options.uses_network else None,
            methods={name: p.method for name, p in self._settled().items()},
            by=by,
            dated=dated,
        )

    def _answer_all(self, name: str, progress: Progress | None, cancel: Cancel | None) -> None:
        asked = self._open_questions(name)
        found: dict[str, _Answer] = {}
        for index, (each, question) in enumerate(asked.items()):
            share = part_of(progress, index / len(asked), (index + 1) / len(asked))
            prediction = self._engine.predict(
                question.request, question.options, model=question.model, progress=share, cancel=cancel
            )
            found[each] = self._answer(question, prediction)
        # Only now, so that Cancel leaves everything as it was.
        self._keep(found)

    def _open_questions(self, name: str) -> dict[str, _Question]:
        """What must be asked before `name` and all others can be told."""
        due = [n for n in self._due() if n != name and self.prompts[n].has_positive]
        names = ([name] if name not in self.locked else []) + due
        return {n: self._question(n) for n in names if not self._stands(n)}

    def _question(self, name: str) -> _Question:
        model, before = self.models.get(name), self._state.earlier.get(name)
        same = before is not None and before.options == self.options and before.model is model
        request = replace(self._request(name), earlier=before.answer if before is not None and same else None)
        return _Question(request, self.options, model)

    def _keep(self, found: Mapping[str, _Answer]) -> None:
        """Take those answers in that still answer the session's prompts."""
        answers = {n: a for n, a in self._state.answers.items() if n in self.prompts and len(self.prompts[n])}
        due = self._due()
        answers.update({n: a for n, a in found.items() if n in due and self._holds(n, a)})
        self._state.answers.clear()
        self._state.answers.update(answers)

    def _stands(self, name: str) -> bool:
        """Whether nothing must be computed to tell this segment."""
        answer = self._state.answers.get(name)
        return name in self.locked or (answer is not None and name in self._due() and self._holds(name, answer))

    def _due(self) -> list[str]:
        """Unlocked segments that have prompts."""
        return [s.name for s in self.prompts if len(s) and s.name not in self.locked]

    def _request(self, name: str) -> Request:
        request = Request(self.prompts[name], self._others(name))
        return replace(request, others=self._engine.relevant(request))

    def _answer(self, question: _Question, found: Prediction) -> _Answer:
        others = self._engine.relevant(question.request, found.region)
        seen = replace(question.request, others=others, earlier=None)
        return _Answer(seen, question.options, question.model, found)

    def _holds(self, name: str, answer: _Answer) -> bool:
        """Whether an answer still stands: what was asked, and what others claim where it lies, is as it was."""
        request = Request(self.prompts[name], self._others(name))
        if request.segment == answer.request.segment:
            request = replace(request, others=self._engine.relevant(request, answer.prediction.region))
        return request == answer.request and answer.options == self.options and answer.model is self.models.get(name)

    def _others(self, name: str) -> tuple[SegmentPrompts, ...]:
        return () if self.allow_overlap else tuple(s for s in self.prompts if s.name != name and len(s))

    def _settled(self) -> dict[str, Prediction]:
        """What each segment is once segments that may not overlap have competed."""
        free = {n: replace(a.prediction, segment=n) for n, a in self._state.answers.items() if n not in self.locked}
        frozen = {n: replace(p, segment=n) for n, p in self._state.frozen.items() if p is not None}
        order = [n for n in self.segments if n in free or n in frozen]
        settled = free if self.allow_overlap else settle(free, frozen)
        return {n: frozen.get(n) or settled[n] for n in order}

    # ---- fine-tuning ------------------------------------------------------------------------------------------

    def finetune(
        self,
        budget_s: float,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        *,
        segments: Sequence[str] | None = None,
    ) -> dict[str, FinetuneReport]:
        """Fit a small network to this case for about ``budget_s`` seconds in all, and use it where it helps.

        By default for every unlocked segment with prompts. One undo takes it back. When ``cancel`` returns true the
        best network so far is kept.

        Returns
        -------
        For each segment, whether the network is used and why.

        Raises
        ------
        InputError
            If no segment has prompts, or the budget is not positive.
        """
        names = self._tunable(budget_s, segments)
        requests = [self._request(n) for n in names]
        fitted = self._engine.finetune(requests, self.options, budget_s, progress=progress, cancel=cancel)
        models = {n: _Fitted(model, self.prompts[n]) for n, (model, _) in fitted.items()}
        self._do(models={**self._state.models, **models})
        return {n: report for n, (_, report) in fitted.items()}

    def _tunable(self, budget_s: float, segments: Sequence[str] | None) -> list[str]:
        """The names of the segments that are meant; an `InputError` if they cannot be fine-tuned."""
        if not isinstance(budget_s, int | float | np.number) or not budget_s > 0:
            raise InputError(f"The fine-tuning budget must be positive seconds; got {budget_s}.")
        names = [n for n in (segments or self._due()) if n not in self.locked]
        for name in names:
            check_complete(self.prompts[name])
        if not names:
            raise InputError("There is nothing to fine-tune: place prompts on an unlocked segment first.")
        return names

    # ---- jobs -------------------------------------------------------------------------------------------------

    def unanswered(self) -> list[str]:
        """Segments that were prompted, and whose question is another than the one that was answered, if any was."""
        return [n for n in self._due() if self.prompts[n].has_positive and not self._stands(n)]

    def start_predict(self, segment: str | None = None, *, alone: bool = False) -> Job[Prediction]:
        """Begin what `predict` does, and return at once; `poll` the job to its end.

        ``alone``: the other segments stay `unanswered`, and as they were said to be.

        The prompts of now are answered, whatever is added or undone meanwhile. When it ends, each answer is kept that
        still answers the session's prompts, and what the result and `said` tell is as after `predict`; where the
        answer is out of date, the result tells it all the same, with ``changed`` None, and nothing else happens.
        A job that was started before is given up. Raises what `predict` raises for prompts that cannot be answered.
        """
        from PWSegmentationLib.session.session_jobs import PredictJob

        name = self._answerable(segment)
        self._abandon_job()
        self._job = job = PredictJob(self, name, alone)
        return job

    def start_finetune(self, budget_s: float, segments: Sequence[str] | None = None) -> Job[dict[str, FinetuneReport]]:
        """Begin what `finetune` does, and return at once; `poll` the job to its end.

        A network is kept where all the prompts it learnt from are still there; more may have come. Cancelled, the best
        networks so far are kept. A job that was started before is given up. Raises what `finetune` raises.
        """
        from PWSegmentationLib.session.session_jobs import FinetuneJob

        names = self._tunable(budget_s, segments)
        self._abandon_job()
        self._job = job = FinetuneJob(self, names, budget_s)
        return job

    def use_engine(self, engine: Engine) -> None:
        """Have the work done by ``engine`` from now on.

        Prompts, answers and the history stay; networks that were fitted stay behind with the engine that has them.
        """
        self._abandon_job()
        self._engine = engine
        if self._volume is not None:
            engine.set_image(self._volume)
        self._state = replace(self._state, models={})
        self._undo = [replace(state, models={}) for state in self._undo]
        self._redo = [replace(state, models={}) for state in self._redo]

    def close(self) -> None:
        """Give up the job that is running, and end the engine's process if it has one; a later call starts anew."""
        self._abandon_job()
        close = getattr(self._engine, "close", None)
        if close is not None:
            close()

    def _abandon_job(self) -> None:
        if self._job is not None:
            self._job.abandon()
        self._job = None
