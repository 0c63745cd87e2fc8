"""Undo and redo of a scene session: prompts, what was answered to them, and what was written, in one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from PWSegmentationLib.mrml.prompt_store import Snapshot
from PWSegmentationLib.mrml.segment_history import SegmentStep
from PWSegmentationLib.mrml.segments import UNDO_STEPS
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.prompts import PromptSet
from PWSegmentationLib.session.renaming import Names, renamed_keys, renamed_set
from PWSegmentationLib.session.session import Session


@dataclass(frozen=True)
class Known:
    """What was asked, and what the scene shows: the prompt nodes, the session's prompts and networks, the segments.

    ``shown`` and ``answered`` are by segment ID: the answer that was written, and the prompt nodes that the segment's
    voxels answer. Segments that came with the scene are answered, though nothing is known of the answer.
    """

    prompts: PromptSet = field(default_factory=PromptSet)
    shown: Mapping[str, Prediction] = field(default_factory=dict)
    markups: Snapshot = ()
    models: Mapping[str, Any] = field(default_factory=dict)
    answered: Mapping[str, Snapshot] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Step:
    """One change: before and after, and what it changed in the segmentation; None if it is about prompts alone.

    An open step goes on with what follows from it: a prompt with its answer, a new segment with its first prompt.
    """

    before: Known
    after: Known
    changes: SegmentStep | None
    is_open: bool = False

    def touches(self, segment_id: str) -> bool:
        """Whether the prompts of a segment, or that it is there, differ before and after."""
        if self.changes is not None and self.changes.concerns(segment_id):
            return True
        return markups_of(segment_id, self.before.markups) != markups_of(segment_id, self.after.markups)


class SceneHistory:
    """The last steps; ``known`` is what there is now."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self._undo: list[Step] = []
        self._redo: list[Step] = []

    @property
    def last(self) -> Step | None:
        """The step that undo takes back; None if there is none."""
        return self._undo[-1] if self._undo else None

    @property
    def next(self) -> Step | None:
        """The step that redo does again; None if there is none."""
        return self._redo[-1] if self._redo else None

    @property
    def goes_on(self) -> bool:
        """Whether the last step is open, and has changed the segmentation."""
        last = self.last
        return last is not None and last.is_open and last.changes is not None and bool(last.changes.parts)

    def push(
        self,
        known: Known,
        changes: SegmentStep | None,
        *,
        joins: bool = False,
        is_open: bool = False,
        onto: SegmentStep | None = None,
    ) -> None:
        """Make a step to ``known``, or go on with the last one: if that is open and this ``joins``, or ``onto`` it."""
        if onto is not None and (self.last is None or self.last.changes is not onto):
            # A prompt came while the rest of that step was written: it stays a step of its own.
            self.known = known
            return
        before = self.known
        if onto is not None or (joins and self.last is not None and self.last.is_open):
            last = self._undo.pop()
            before, changes = last.before, changes or last.changes
        self._undo.append(Step(before, known, changes, is_open))
        del self._undo[:-UNDO_STEPS]
        self._redo.clear()
        self.known = known

    def back(self) -> None:
        """Count the last step as undone."""
        self._redo.append(self._undo.pop())

    def forward(self) -> None:
        """Count the step undone last as done again."""
        self._undo.append(self._redo.pop())

    def rename(self, names: Names) -> None:
        """Segments are called otherwise, now and at every step."""

        def named(steps: list[Step]) -> list[Step]:
            return [replace(s, before=_renamed(s.before, names), after=_renamed(s.after, names)) for s in steps]

        self.known, self._undo, self._redo = _renamed(self.known, names), named(self._undo), named(self._redo)


def markups_of(segment_id: str, markups: Snapshot) -> Snapshot:
    """The prompt nodes of one segment."""
    return tuple(k for k in markups if k.segment_id == segment_id)


def _renamed(known: Known, names: Names) -> Known:
    shown = {i: replace(p, segment=names.get(p.segment, p.segment)) for i, p in known.shown.items()}
    prompts, models = renamed_set(known.prompts, names), renamed_keys(known.models, names)
    return replace(known, prompts=prompts, shown=shown, models=models)


def rewind(session: Session, prompts: PromptSet, models: Mapping[str, Any] | None = None) -> None:
    """Bring the session back to ``prompts`` and ``models``, through its own history where that has them."""

    def is_there() -> bool:
        return session.prompts == prompts and (models is None or _ids(session.models) == _ids(models))

    for step in (session.undo, session.redo):
        taken = 0
        while not is_there() and step():
            taken += 1
        if is_there():
            return
        back = session.redo if step == session.undo else session.undo
        for _ in range(taken):
            back()
    if session.prompts != prompts:
        session.prompts = prompts


def _ids(models: Mapping[str, Any]) -> dict[str, int]:
    return {name: id(model) for name, model in models.items()}
