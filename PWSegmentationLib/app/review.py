"""Reviewing a case in the browser: look at the segments, accept, fix, flag, and go on to the next one.

What is found and kept is `mrml.review`'s, as in the Slicer panel; here is what buttons and keys do with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from PWSegmentationLib.app.case import Case, Listener
from PWSegmentationLib.app.job_runner import INTERVAL_S, JobRunner
from PWSegmentationLib.mrml.export import segment_status
from PWSegmentationLib.mrml.review import (
    SceneReview,
    comment,
    next_to_review,
    place_to_look_at,
    set_comment,
    set_status,
)
from PWSegmentationLib.mrml.reviewed import hide_changes, show_changes
from PWSegmentationLib.segments.segmentation import STATUS_WORDS, Segment, Status
from PWSegmentationLib.session.jobs import Job

if TYPE_CHECKING:
    from PWSegmentationLib.review.changes import Changes
    from PWSegmentationLib.review.review import SegmentReview


class ReviewListener(Listener, Protocol):
    """Who shows the case and its review."""

    def review_changed(self) -> None:
        """What is known of segments, or how far looking at them is, has changed."""

    def changes_shown(self) -> None:
        """What is drawn of changes is another."""


class Review:
    """What is known of the segments of one case, and what is said of them."""

    def __init__(self, case: Case, listener: ReviewListener) -> None:
        self._case = case
        self._listener = listener
        self._scene = SceneReview(case.segmentation_node, case.session.volume_node, case.session)
        self.jobs = JobRunner(listener.review_changed)
        self.shows_changes = False
        # The comment that is being typed, and the segment that it is about.
        self._typed: tuple[str, str] | None = None
        # The voxels and the changes that are drawn.
        self._drawn: tuple[Segment, Changes] | None = None

    def close(self) -> None:
        """Stop, and let go of the nodes."""
        self.shows_changes = False
        self.jobs.drop()
        hide_changes(self._case.segmentation_node)

    # ---- what is known ---------------------------------------------------------------------------------------

    def of(self, segment_id: str) -> SegmentReview | None:
        """What is known of a segment as it is now; None if it was not looked at."""
        return self._scene.of(segment_id)

    def status(self, segment_id: str) -> Status:
        """How far the work on a segment is."""
        return segment_status(self._case.segment(segment_id)) or "notstarted"

    def comment(self, segment_id: str) -> str:
        """What was said of a segment."""
        return comment(self._case.segmentation_node, segment_id)

    def before(self, segment_id: str) -> Segment | None:
        """A segment as it was last accepted or flagged; None if it is known to be as it was, or never was."""
        versions = self._scene.versions(segment_id)
        return None if versions is None else versions[0]

    async def looked(self) -> Mapping[str, SegmentReview]:
        """All segments looked at as they are now, by ID."""
        job = self._scene.start()
        while not job.poll():
            await asyncio.sleep(INTERVAL_S)
        return job.result()

    # ---- buttons ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Look at all segments, and say how many are worth a look."""
        self._look(self._say_how_many)

    def next(self) -> None:
        """Go to the segment that needs a person most, and to the place in it."""
        self._go_on()

    def accept(self) -> None:
        """The selected segment is right: it is locked, and the next one comes."""
        self._say("completed")

    def fix(self) -> None:
        """The selected segment is to be corrected: it is unlocked."""
        self._say("inprogress")

    def flag(self) -> None:
        """The selected segment is wrong; the next one comes."""
        self._say("flagged")

    def cancel(self) -> bool:
        """Stop looking; what was found stays. False if nothing runs."""
        return self.jobs.cancel()

    def set_comment(self, segment_id: str, text: str) -> None:
        """Say something of a segment."""
        self._typed = None
        with self._case.showing_errors():
            set_comment(self._case.segmentation_node, segment_id, text)
        self._listener.case_changed()

    def typed(self, segment_id: str, text: str) -> None:
        """A comment is being typed: it is not lost where a look that ends leads to another segment."""
        self._typed = segment_id, text

    def show(self, segment_id: str) -> None:
        """Show the place in a segment that is worth a look."""
        found = self.of(segment_id)
        place = None if found is None else place_to_look_at(found, self._case.session.volume_node)
        if place is not None:
            self._listener.jump_to(place)

    def show_flag(self, number: int) -> None:
        """Show the place that a flag of the selected segment is about."""
        found = None if self._case.current is None else self.of(self._case.current)
        if found is not None and number < len(found.flags):
            place = found.flags[number].position or place_to_look_at(found, self._case.session.volume_node)
            if place is not None:
                self._listener.jump_to(place)

    # ---- work ------------------------------------------------------------------------------------------------

    def _look(self, then: Callable[[Mapping[str, SegmentReview]], None]) -> None:
        """Look at all segments that have changed, a part at a time; then call ``then(reviews)``."""
        if not self._case.segment_ids():
            self._listener.say("There is nothing to review: segment something first.", error=True)
            return
        self.jobs.start("review", self._scene.start(), lambda job: self._on_looked(job, then))

    def _on_looked(
        self, job: Job[Mapping[str, SegmentReview]], then: Callable[[Mapping[str, SegmentReview]], None]
    ) -> None:
        with self._case.showing_errors():
            then(job.result())
        self._listener.review_changed()

    def _say_how_many(self, reviews: Mapping[str, SegmentReview]) -> None:
        found = sum(bool(review.alarms) for review in reviews.values())
        self._listener.say(f"{found} of {len(reviews)} segments should be looked at.")

    def _say(self, status: Status) -> None:
        segment_id = self._case.current
        if segment_id is None:
            self._listener.say("Choose a segment in the list.", error=True)
            return
        with self._case.showing_errors():
            self._case.session.finish_writing()
            set_status(self._case.segmentation_node, segment_id, status)
            self._listener.say(f"{self._case.segment(segment_id).GetName()}: {STATUS_WORDS[status]}.")
            self._listener.case_changed()
            if status != "inprogress":
                self._go_on()

    def _go_on(self) -> None:
        """Go to the next segment once all are looked at, unless somebody has begun something else meanwhile."""
        before = self._occupation()
        self._look(lambda reviews: self._go_to_next(reviews) if self._occupation() == before else None)

    def _occupation(self) -> tuple[object, ...]:
        """What somebody is at; another one whenever a segment is chosen, prompted or judged."""
        segment_id = self._case.current
        status = self.status(segment_id) if segment_id in self._case.segment_ids() else None
        return self._case.attended, segment_id, status

    def _go_to_next(self, reviews: Mapping[str, SegmentReview]) -> None:
        segment_id = next_to_review(reviews, self._case.current)
        if segment_id is None:
            self._listener.say("All segments are completed.")
            return
        if self._typed is not None:
            self.set_comment(*self._typed)
        self._case.select(segment_id)
        place = place_to_look_at(reviews[segment_id], self._case.session.volume_node)
        if place is not None:
            self._listener.jump_to(place)

    # ---- changes ---------------------------------------------------------------------------------------------

    def choose_changes(self, is_on: bool) -> None:
        """Show what has changed in the selected segment since it was reviewed, or not."""
        self.shows_changes = is_on
        self.draw_changes()
        self._listener.review_changed()

    def draw_changes(self) -> None:
        """Draw the changes of the selected segment if that is wanted, and no others."""
        segment_id = self._case.current if self.shows_changes else None
        found = None if segment_id is None else self.of(segment_id)
        wanted = None if found is None or found.changes is None else (found.segment, found.changes)
        if wanted == self._drawn:
            return
        self._drawn = wanted
        hide_changes(self._case.segmentation_node)
        versions = None if segment_id is None else self._scene.versions(segment_id)
        if versions is not None:
            show_changes(self._case.segmentation_node, self._case.session.volume_node, *versions)
        self._listener.changes_shown()
