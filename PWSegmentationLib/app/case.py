"""One image that is segmented: what happens when a prompt is placed or a button is pressed. No page, no mouse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from PWSegmentationLib.app.job_runner import JobRunner
from PWSegmentationLib.app.prompt_watch import PromptWatch
from PWSegmentationLib.errors import EngineLost, InputError
from PWSegmentationLib.mrml import (
    Applied,
    PromptItem,
    SceneSession,
    is_locked,
    set_locked,
)
from PWSegmentationLib.mrml.labelmaps import segment_ml
from PWSegmentationLib.mrml.nodes import Node, Scene
from PWSegmentationLib.mrml.overlays import OverlayKind
from PWSegmentationLib.progress import Cancelled
from PWSegmentationLib.prompts.checks import check_placement
from PWSegmentationLib.prompts.prompts import Point, Prompt, PromptSet, SegmentPrompts
from PWSegmentationLib.session import Session
from PWSegmentationLib.session.child import ChildEngine
from PWSegmentationLib.session.engine import Method
from PWSegmentationLib.session.jobs import Job

Overlay: TypeAlias = Literal["none", "probability", "uncertainty"]

_WARMING_S = 0.03
STOPPED_REFINING = "Refining was stopped: start it again."

_log = logging.getLogger(__name__)


@dataclass
class Settings:
    """What the user has chosen; it is kept from one image to the next."""

    auto_segment: bool = True
    many_lesions: bool = False
    brush_mm: float = 4.0
    refine_seconds: int = 20
    overlay: Overlay = "none"
    overlay_opacity: float = 0.6
    method: Method = "auto"


class Listener(Protocol):
    """Who shows the case."""

    def say(self, text: str, *, error: bool = False) -> None:
        """One sentence for the user."""

    def case_changed(self) -> None:
        """Prompts, segments, or what can be done now have changed."""

    def progress_changed(self) -> None:
        """A job has begun, gone on, or ended."""

    def segments_written(self, segment_ids: Sequence[str] | None) -> None:
        """The voxels of these segments have changed; None: of any."""

    def show_overlay(self, node: Node | None) -> None:
        """Lay a volume over the image, or nothing."""

    def jump_to(self, position: Sequence[float]) -> None:
        """Show a position, mm RAS, in all slice views."""


class Case:
    """A session on the nodes of one image, and the jobs on it; one at a time."""

    def __init__(
        self,
        scene: Scene,
        volume_node: Node,
        segmentation_node: Node,
        engine: ChildEngine,
        settings: Settings,
        listener: Listener,
    ) -> None:
        self.settings = settings
        self._listener = listener
        self._engine = engine
        self.session = SceneSession(scene, volume_node, segmentation_node, Session(engine=engine))
        self.session.set_options(method=settings.method, samples=6, seed=0)
        self.jobs = JobRunner(listener.progress_changed)
        self.current: str | None = None
        # Grows with every choice of a segment and every change of prompts.
        self.attended = 0
        self._pending: str | None = None
        self._retried = False
        self._warming: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(self._warm_up())
        self._overlay_asked: tuple[str | None, Overlay] | None = None
        # Of segments that came with a session that was brought back, ml.
        self._counted: dict[str, float | None] = {}
        self._watch = PromptWatch(self.session.store, self._attend, self._on_prompts_settled)

    def close(self) -> None:
        """Stop, and let go of the nodes."""
        self.stop()
        if self._warming is not None:
            self._warming.cancel()
        self._watch.close()
        self.session.close()

    async def _warm_up(self) -> None:
        """Have the computing process ready before the first prompt is placed."""
        while not self.jobs.is_running and not self._engine.warm_up():
            await asyncio.sleep(_WARMING_S)

    def tell(self, text: str) -> None:
        """Say something to the user."""
        self._listener.say(text)

    # ---- segments --------------------------------------------------------------------------------------------

    @property
    def segmentation_node(self) -> Node:
        """Where the segments are."""
        return self.session.segmentation_node

    def segment_ids(self) -> list[str]:
        """IDs of all segments."""
        return [str(i) for i in self.segmentation_node.GetSegmentation().GetSegmentIDs()]

    def segment(self, segment_id: str) -> Any:
        """A segment; None if there is none with this ID."""
        return self.segmentation_node.GetSegmentation().GetSegment(segment_id)

    def select(self, segment_id: str | None) -> None:
        """Make a segment the one that prompts are placed for."""
        self.current = segment_id if segment_id in self.segment_ids() else None
        self._attend()
        self._refresh_overlay()
        self._listener.case_changed()

    def _attend(self) -> None:
        self.attended += 1

    def select_next(self) -> None:
        """Select the next segment in the table, round and round."""
        ids = self.segment_ids()
        if ids:
            self.select(ids[(ids.index(self.current) + 1) % len(ids)] if self.current in ids else ids[0])

    def add_segment(self, *, for_prompt: bool = False) -> str:
        """A new segment, selected; its ID. ``for_prompt``: undo takes it back together with its first prompt."""
        base = "Lesion" if self.settings.many_lesions else "Segment"
        taken = {self.segment(i).GetName() for i in self.segment_ids()}
        number = next(n for n in range(1, len(taken) + 2) if f"{base} {n}" not in taken)
        segment_id = self.session.add_segment(f"{base} {number}", for_prompt=for_prompt)
        self.select(segment_id)
        return segment_id

    def current_or_new(self) -> str:
        """The selected segment, or a new one that its first prompt is one step with."""
        return self.current if self.current in self.segment_ids() else self.add_segment(for_prompt=True)

    def remove_segment(self, segment_id: str) -> None:
        """Remove a segment with its prompts."""
        segment = self.segment(segment_id)
        if segment is None:
            return
        message = self._stopped_for(f"Segment '{segment.GetName()}' was removed: Undo brings it back.")
        with self.showing_errors():
            self.session.remove_segment(segment_id)
            self._listener.say(message)
            self._after_step()

    def rename_segment(self, segment_id: str, name: str) -> None:
        """Give a segment another name."""
        with self.showing_errors():
            segment, name = self.segment(segment_id), name.strip()
            if segment is None or name == segment.GetName():
                return
            if not name:
                raise InputError("A segment needs a name: type one.")
            check_name(name)
            if any(self.segment(i).GetName() == name for i in self.segment_ids()):
                raise InputError(f"There already is a segment '{name}': choose another name.")
            segment.SetName(name)
        self._listener.case_changed()

    def toggle_lock(self, segment_id: str) -> None:
        """Lock a segment, or release it."""
        set_locked(self.segmentation_node, segment_id, not is_locked(self.segmentation_node, segment_id))
        self._listener.case_changed()

    # ---- prompts ---------------------------------------------------------------------------------------------

    def add_prompt(self, prompt: Prompt) -> bool:
        """Place a prompt on the selected segment, or on a new one; false if it cannot be meant."""
        with self.showing_errors():
            name = self.segment(self.current).GetName() if self.current in self.segment_ids() else "the segment"
            check_placement(SegmentPrompts(name).with_prompt(prompt), self.session.session.volume.grid)
            if self.current is not None and is_locked(self.segmentation_node, self.current):
                raise InputError(f"Segment '{name}' is locked: unlock it, or choose another one.")
            store = self.session.store
            ids = self.segment_ids()
            if isinstance(prompt, Point) and self.current in ids and store.has_point(self.current, prompt):
                # The second click of a double click.
                return False
            segment_id = self.current_or_new()
            store.add_prompt(segment_id, prompt)
            self._watch.refresh()
            self._watch.touch(segment_id)
            return True
        return False

    def add_prompt_set(self, prompts: PromptSet) -> None:
        """Place all prompts of a file, in segments of their names, and segment them one after the other."""
        with self.showing_errors():
            for segment in prompts:
                check_name(segment.name)
                check_placement(segment, self.session.session.volume.grid)
            by_name = {self.segment(i).GetName(): i for i in self.segment_ids()}
            ids = []
            for segment in prompts:
                segment_id = by_name.get(segment.name) or self.session.add_segment(segment.name)
                for prompt in segment:
                    self.session.store.add_prompt(segment_id, prompt)
                ids.append(segment_id)
            self._watch.refresh()
            self.session.note_prompts()
            if ids:
                self.select(ids[0])
                self.start_segmenting(ids[0])
        self._listener.case_changed()

    def delete_prompts(self, items: Sequence[PromptItem]) -> None:
        """Delete prompts of the selected segment; one undo brings them back."""
        if self.current is None or not items:
            return
        if is_locked(self.segmentation_node, self.current):
            self._listener.say("The segment is locked: unlock it to delete its prompts.", error=True)
            return
        # The last ones first, so that the numbers of the others stay right.
        for item in sorted(items, key=lambda i: -i.index):
            self.session.store.delete(item)
        self._watch.touch(self.current)

    def items(self) -> list[PromptItem]:
        """The prompts of the selected segment."""
        return self.session.store.items(self.current) if self.current in self.segment_ids() else []

    def _on_prompts_settled(self, segment_id: str) -> None:
        """Take changed prompts in, and segment them if that is wanted."""
        if self.segment(segment_id) is None:
            return
        with self.showing_errors():
            if self.settings.many_lesions:
                segment_id = self._split_lesion(segment_id)
            if not self.session.note_prompts():
                return
            self._listener.case_changed()
            if self.settings.auto_segment:
                self.start_segmenting(segment_id)
            else:
                self._listener.say("Press Segment when all prompts are placed.")

    def _split_lesion(self, segment_id: str) -> str:
        """With many lesions a second + point of a segment starts the next one; the segment it is in now."""
        points = [i for i in self.session.store.items(segment_id) if i.role == "inside"]
        if len(points) < 2 or len(points) <= self.session.prompts_seen(segment_id):
            return segment_id
        last = points[-1]
        self.session.store.delete(last)
        new = self.add_segment(for_prompt=True)
        self.session.store.add_point(new, last.position)
        self._watch.refresh()
        return new

    # ---- work ------------------------------------------------------------------------------------------------

    def segment_now(self) -> None:
        """Segment the selected segment from the prompts that it has."""
        if self.current is None:
            self._listener.say("Choose a segment in the table, or place a prompt for a new one.", error=True)
            return
        with self.showing_errors():
            self.start_segmenting(self.current)

    def start_segmenting(self, segment_id: str) -> None:
        """Begin to segment; what was computed before, for fewer prompts, is stopped."""
        if self.jobs.kind == "refine":
            # It goes on; the prompt is answered, with what was learnt, when it has ended.
            self._pending = segment_id
            self._listener.say("The prompt is answered when refining has ended.")
            return
        job = self.session.start(segment_id)
        self._listener.say("Segmenting…")
        self.jobs.start("segment", job, lambda ended: self._on_segmented(ended, segment_id))

    def _on_segmented(self, job: Job[Applied], segment_id: str) -> None:
        with self.showing_errors(lost=lambda: self.start_segmenting(segment_id)):
            applied = job.result()
            self._retried = False
            self._tell_written(self._ids_of(applied.written))
            self._listener.say(_described(applied))
        self._refresh_overlay()
        self._listener.case_changed()

    def _ids_of(self, names: Any) -> list[str]:
        return [i for i in self.segment_ids() if self.segment(i).GetName() in names]

    def refine(self) -> None:
        """Fit a network to this case."""
        with self.showing_errors():
            if self.jobs.kind == "refine":
                return
            job = self.session.start_finetune(self.settings.refine_seconds)
            self._listener.say("Refining: prompts can be placed meanwhile; Cancel stops early.")
            self.jobs.start("refine", job, self._on_refined)

    def _on_refined(self, job: Job[Any]) -> None:
        with self.showing_errors():
            refined = job.result()
            used = [name for name, report in refined.reports.items() if report.accepted]
            self._tell_written(self._ids_of(refined.written))
            if used:
                self._listener.say(f"Refined: {', '.join(used)}.")
            elif refined.written:
                self._listener.say(f"Answered, but not refined: {', '.join(refined.written)}.")
            else:
                why = next((r.reason for r in refined.reports.values()), "")
                self._listener.say(f"Nothing was changed: what the prompts say by themselves is better. {why}".strip())
        pending, self._pending = self._pending, None
        if pending is not None and self.segment(pending) is not None:
            with self.showing_errors():
                self.start_segmenting(pending)
        self._refresh_overlay()
        self._listener.case_changed()

    def cancel(self) -> None:
        """Stop what is computed; a fine-tune keeps what it has learnt."""
        if self.jobs.cancel():
            self._listener.say("Stopping…")

    def stop(self) -> None:
        """Stop what is computed: nothing in the scene changes any more."""
        self._pending = None
        self._watch.drop()
        if self.jobs.kind == "refine":
            self._listener.say(STOPPED_REFINING)
        self.jobs.drop()

    # ---- steps -----------------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Take the last step back: prompts and masks together."""
        self._step(self.session.start_undo, "Undone.")

    def redo(self) -> None:
        """Do the step undone last again."""
        self._step(self.session.start_redo, "Done again.")

    def _step(self, start: Callable[[], Job[None] | None], message: str) -> None:
        message = self._stopped_for(message)
        with self.showing_errors():
            job = start()
            # Mostly it is done at once.
            if job is not None and job.poll():
                self._on_stepped(job, message)
            elif job is not None:
                self.jobs.start("step", job, lambda ended: self._on_stepped(ended, message))

    def _on_stepped(self, job: Job[Any], message: str) -> None:
        with self.showing_errors():
            job.result()
            self._listener.say(" ".join(text for text in (message, self.session.note) if text))
            self._after_step()

    def _stopped_for(self, message: str) -> str:
        """Stop what is computed; what there is to say of the step that needs it."""
        stopped = f" {STOPPED_REFINING}" if self.jobs.kind == "refine" else ""
        self.stop()
        return message + stopped

    def _after_step(self) -> None:
        self._watch.refresh()
        ids = self.segment_ids()
        if self.current not in ids:
            self.current = ids[-1] if ids else None
        self._tell_written(None)
        waiting = self._unanswered() if self.settings.auto_segment else None
        if waiting is not None:
            self.start_segmenting(waiting)
        else:
            self._refresh_overlay()
        self._listener.case_changed()

    def _unanswered(self) -> str | None:
        """A segment whose prompts were placed so quickly that their mask was never shown, the selected one first."""
        session = self.session
        ids = sorted(session.store.prompted(), key=lambda i: i != self.current)
        waiting = (i for i in ids if not session.is_answered(i) and not is_locked(self.segmentation_node, i))
        return next((i for i in waiting if i == self.current or session.store.prompts(i).has_positive), None)

    # ---- looking ---------------------------------------------------------------------------------------------

    def next_uncertain_spot(self) -> None:
        """Show where a prompt would help most."""
        if self.current is None:
            return
        spot = self.session.next_uncertain_spot(self.current)
        if spot is None:
            self._listener.say("Nothing in this segment is in doubt.")
            return
        self._listener.jump_to(spot.position)
        self._listener.say(f"The segment is in doubt here ({spot.certainty:.0%} sure): place a + or − point.")

    def set_overlay(self, overlay: Overlay) -> None:
        """Show the probability or the uncertainty of the selected segment, or neither."""
        self.settings.overlay = overlay
        self._refresh_overlay()

    def _refresh_overlay(self) -> None:
        # What runs ends with a refresh.
        if self.jobs.is_running:
            return
        wanted = self._overlay_asked = (self.current, self.settings.overlay)
        kind: OverlayKind | None = None if wanted[1] == "none" else wanted[1]  # type: ignore[assignment]
        if kind is None or self.current is None:
            self._listener.show_overlay(None)
            return
        if self.session.prediction(self.current) is None and self.session.store.nodes(self.current):
            # A session that was restored has the voxels, not the numbers behind them.
            with self.showing_errors():
                self.start_segmenting(self.current)
            return
        self.jobs.start("overlay", self.session.start_overlays(self.current, kind), self._on_overlay)

    def _on_overlay(self, job: Job[Node | None]) -> None:
        with self.showing_errors():
            self._listener.show_overlay(job.result())
        if self._overlay_asked != (self.current, self.settings.overlay):
            self._refresh_overlay()

    def set_method(self, method: Method) -> None:
        """How to predict from the next prompt on."""
        self.settings.method = method
        self.session.set_options(method=method, samples=6, seed=0)

    def volume_ml(self, segment_id: str) -> float | None:
        """How large a segment is; None while it is empty."""
        prediction = self.session.prediction(segment_id)
        if prediction is not None:
            return prediction.volume_ml
        if segment_id not in self._counted:
            self._counted[segment_id] = segment_ml(self.segmentation_node, segment_id) or None
        return self._counted[segment_id]

    def _tell_written(self, segment_ids: Sequence[str] | None) -> None:
        self._counted.clear()
        self._listener.segments_written(segment_ids)

    @contextmanager
    def showing_errors(self, lost: Callable[[], None] | None = None) -> Iterator[None]:
        """What the user got wrong is said on the page, and so is what we got wrong.

        ``lost`` is called, once, when the computing process was lost.
        """
        try:
            yield
        except Cancelled:
            self._listener.say("Stopped. All prompts and segments are as they were.")
        except EngineLost as error:
            self._listener.say(str(error), error=True)
            _log.warning("the computing process was lost: %s", self._engine.log)
            if lost is not None and not self._retried:
                self._retried = True
                with self.showing_errors():
                    lost()
        except InputError as error:
            self._listener.say(str(error), error=True)
        except Exception as error:
            _log.exception("unexpected")
            self._listener.say(f"This did not work: {error}.", error=True)


def check_name(name: str) -> None:
    """Raise `InputError` for a name that is too long for what it goes into: names of files, and DICOM."""
    if len(name) > 64 or len(name.encode()) > 160:
        raise InputError(f"The name '{name[:20]}…' is too long: choose one of 64 letters at most.")


def _described(applied: Applied) -> str:
    found = applied.prediction
    if found is None:
        return applied.note
    text = f"{found.segment}: {applied.volume_text} in {found.seconds:.1f} s ({found.method})."
    return " ".join(t for t in (text, found.note, applied.note) if t)
