"""Reviewing segments of the scene: what can be told of one, its status and comment, and which one comes next."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import slicer

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.export import reading_segment, segment_status
from PWSegmentationLib.mrml.nodes import Node
from PWSegmentationLib.mrml.reviewed import (
    keep_version,
    kept_stamp,
    kept_version,
    only_saved,
    reading_kept_version,
    segment_stamp,
)
from PWSegmentationLib.mrml.scene_job import in_turns
from PWSegmentationLib.mrml.scene_session import SceneSession
from PWSegmentationLib.mrml.terminology import segment_tag
from PWSegmentationLib.mrml.volumes import image_grid
from PWSegmentationLib.progress import Cancelled, finished
from PWSegmentationLib.segments.segmentation import STATUSES, Segment, Status
from PWSegmentationLib.session.importing import importing
from PWSegmentationLib.session.jobs import Job, SteppedJob

if TYPE_CHECKING:
    from PWSegmentationLib.review.changes import Changes
    from PWSegmentationLib.review.flags import Flag
    from PWSegmentationLib.review.measures import Measures
    from PWSegmentationLib.review.record import Verdict
    from PWSegmentationLib.review.review import SegmentReview

# What a reviewer said of a segment; saved with the segmentation.
COMMENT_TAG = "PWSegmentation.Comment"
# How often a job looks at a segment that changes meanwhile; whoever goes on changing it is not followed for ever.
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class _Looked:
    """What was seen of a segment, and what it was seen of: if that is not the same any more, it says nothing."""

    seen: tuple[Any, ...]
    segment: Segment
    measures: Measures
    flags: tuple[Flag, ...]


class SceneReview:
    """What is known of a segmentation's segments: looked at when asked to, and known until something changes.

    Parameters
    ----------
    segmentation_node, volume_node
        The segments, and their image.
    case
        The session whose prompts and predictions the segments are held against; None if there is none. The second
        opinion is what it last predicted: nothing is computed but measures and flags.
    """

    def __init__(self, segmentation_node: Node, volume_node: Node, case: SceneSession | None) -> None:
        self.segmentation_node, self.volume_node, self.case = segmentation_node, volume_node, case
        self._segments: dict[str, tuple[Any, Segment]] = {}
        self._looked: dict[str, _Looked] = {}
        self._changes: dict[str, tuple[Any, Changes | None]] = {}

    def is_of(self, segmentation_node: Node, volume_node: Node, case: SceneSession | None) -> bool:
        """Whether it is about these."""
        return self.segmentation_node is segmentation_node and self.volume_node is volume_node and self.case is case

    @property
    def ids(self) -> list[str]:
        """IDs of the segments, in the order of the table."""
        return [str(i) for i in self.segmentation_node.GetSegmentation().GetSegmentIDs()]

    def start(self) -> Job[Mapping[str, SegmentReview]]:
        """Begin to look at all segments that are not known as they are now; the result is `known`.

        Every `Job.poll` takes some tens of milliseconds for an organ.
        """
        return _ReviewJob(self)

    @property
    def known(self) -> dict[str, SegmentReview]:
        """By ID, what is known of the segments that have not changed since they were looked at."""
        found = {segment_id: self.of(segment_id) for segment_id in self.ids}
        return {segment_id: review for segment_id, review in found.items() if review is not None}

    def of(self, segment_id: str) -> SegmentReview | None:
        """What is known of a segment; None if it was not looked at since it, or its prompts, changed."""
        looked = self._looked_at(segment_id)
        if looked is None:
            return None
        stamp, since = self._changes.get(segment_id, (None, None))
        if stamp is None or not _is_same(stamp, self._stamp(segment_id, looked.segment)):
            return None
        # Here, for a panel asks of segments that were never looked at, too, and must not wait for scipy.
        from PWSegmentationLib.review.review import SegmentReview, need

        verdict = _verdict(self.segmentation_node, segment_id)
        wanted = need(looked.measures, looked.flags, verdict, since)
        return SegmentReview(looked.segment, looked.measures, looked.flags, verdict, since, wanted)

    def versions(self, segment_id: str) -> tuple[Segment, Segment] | None:
        """A segment as it was last completed or flagged, and as it is; None if it is as it was, or not known."""
        found = self.of(segment_id)
        if found is None or found.changes is None or found.changes.is_none:
            return None
        before = kept_version(self.segmentation_node, segment_id, self.volume_node)
        return None if before is None else (before, found.segment)

    def looking(self, segment_id: str) -> Iterator[None]:
        """Look at a segment, in parts; only for what has changed in it where the rest is known."""
        looked = self._looked_at(segment_id)
        if looked is None:
            self._looked[segment_id] = looked = yield from self._measuring(segment_id)
        yield from self._comparing(segment_id, looked.segment)

    def _looked_at(self, segment_id: str) -> _Looked | None:
        """What was seen of a segment, if it, and its prompts, are the same still."""
        looked = self._looked.get(segment_id)
        if looked is None or _vtk_segment(self.segmentation_node, segment_id) is None:
            return None
        seen = self._seen(segment_id)
        if _is_same(looked.seen, seen):
            return looked
        if not _is_same(looked.seen[1:], seen[1:]) or not only_saved(self.segmentation_node, looked.seen[0], seen[0]):
            return None
        if not looked.segment.same_voxels(finished(self._reading(segment_id))):
            # Not asked again: it costs some milliseconds.
            del self._looked[segment_id]
            return None
        self._looked[segment_id] = looked = replace(looked, seen=seen)
        return looked

    def _measuring(self, segment_id: str) -> Generator[None, None, _Looked]:
        from PWSegmentationLib.review.flags import Evidence, flagging
        from PWSegmentationLib.review.measures import Maps, measuring

        seen = self._seen(segment_id)
        segment = yield from self._reading(segment_id)
        yield
        neighbours = []
        for other in self.ids:
            if other != segment_id and _vtk_segment(self.segmentation_node, other) is not None:
                neighbours.append((yield from self._reading(other)))
                yield
        prediction = None if self.case is None else self.case.prediction(segment_id)
        maps = None
        if prediction is not None:
            maps = Maps(prediction.region, prediction.region_probability, prediction.region_uncertainty)
        grid = image_grid(self.volume_node)
        measures = yield from measuring(segment, grid, maps)
        prompts = () if self.case is None else tuple(self.case.session.prompts)
        evidence = Evidence(
            grid=grid,
            image_grid=grid,
            prompts=next((p for p in prompts if p.name == segment.name and len(p)), None),
            others=tuple(p for p in prompts if p.name != segment.name),
            opinion=prediction,
            neighbours=tuple(neighbours),
        )
        found = yield from flagging(segment, measures, evidence)
        yield
        return _Looked(seen, segment, measures, found)

    def _seen(self, segment_id: str) -> tuple[Any, ...]:
        """What the answer depends on; cheap to ask for."""
        name = _segment(self.segmentation_node, segment_id).GetName()
        case = self.case
        asked = (None, None) if case is None else (case.prediction(segment_id), case.session.prompts)
        return (segment_stamp(self.segmentation_node, segment_id), name, *asked)

    def _reading(self, segment_id: str) -> Generator[None, None, Segment]:
        """A segment's voxels, read once for every state that it is in."""
        stamp = segment_stamp(self.segmentation_node, segment_id)
        kept = self._segments.get(segment_id)
        if kept is None or kept[0] != stamp:
            value = 1 + self.ids.index(segment_id)
            kept = (stamp, (yield from reading_segment(self.segmentation_node, segment_id, self.volume_node, value)))
            self._segments[segment_id] = kept
        name = str(_segment(self.segmentation_node, segment_id).GetName())
        return kept[1] if kept[1].name == name else replace(kept[1], name=name)

    def _comparing(self, segment_id: str, segment: Segment) -> Iterator[None]:
        """Hold a segment against what it was when it was last completed or flagged."""
        from PWSegmentationLib.review.changes import changes

        stamp = self._stamp(segment_id, segment)
        before = yield from reading_kept_version(self.segmentation_node, segment_id, self.volume_node)
        since = None if before is None else changes(before, segment, image_grid(self.volume_node))
        self._changes[segment_id] = (stamp, since)

    def _stamp(self, segment_id: str, segment: Segment) -> tuple[Any, ...]:
        return (kept_stamp(self.segmentation_node, segment_id), segment)


class _ReviewJob(SteppedJob["Mapping[str, SegmentReview]"]):
    """Looks at one segment after the other, a part in every `poll`; what was seen when it is cancelled stays known."""

    def __init__(self, review: SceneReview) -> None:
        self._review = review
        super().__init__()

    def _work(self) -> Iterator[None]:
        return in_turns(self._looking())

    def _looking(self) -> Iterator[None]:
        review = self._review
        # The first time they bring scipy.
        yield from importing("PWSegmentationLib.review.flags", "PWSegmentationLib.review.review")
        for _ in range(_ROUNDS):
            ids = [i for i in review.ids if review.of(i) is None]
            for index, segment_id in enumerate(ids):
                yield from self._looking_at(segment_id, index / len(ids))
        self._result = review.known

    def _looking_at(self, segment_id: str, progress: float) -> Iterator[None]:
        node = self._review.segmentation_node
        segment = _vtk_segment(node, segment_id)
        # Removed meanwhile.
        if segment is None:
            return
        self._tell(progress, str(segment.GetName()))
        yield
        try:
            yield from self._review.looking(segment_id)
        except InputError:
            # Or removed while it was looked at.
            if _vtk_segment(node, segment_id) is not None:
                raise

    def cancel(self) -> None:
        """See `Job`."""
        self._end(Cancelled())


def set_status(segmentation_node: Node, segment_id: str, status: Status) -> None:
    """Set Slicer's own status of a segment; a completed one is locked for prompts. `InputError` for another word.

    With "completed" and "flagged" its voxels are kept beside the segmentation, to tell later what has changed.
    """
    if status not in STATUSES:
        raise InputError(f"There is no status '{status}': choose among {', '.join(STATUSES)}.")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segment = _segment(segmentation_node, segment_id)
    if status in ("completed", "flagged"):
        keep_version(segmentation_node, segment_id)
    logic.SetSegmentStatus(segment, STATUSES.index(status))


def comment(segmentation_node: Node, segment_id: str) -> str:
    """What was said of a segment; "" if nothing was."""
    return segment_tag(_segment(segmentation_node, segment_id), COMMENT_TAG)


def set_comment(segmentation_node: Node, segment_id: str, text: str) -> None:
    """Say something of a segment; nothing takes back what was said."""
    segment = _segment(segmentation_node, segment_id)
    # Bars separate tags in files.
    words = " ".join(text.replace("|", "/").split())
    if words:
        segment.SetTag(COMMENT_TAG, words)
    else:
        segment.RemoveTag(COMMENT_TAG)


def next_to_review(reviews: Mapping[str, SegmentReview], current: str | None = None) -> str | None:
    """The ID of the segment that needs a person most, other than ``current`` if possible; None if all are done."""
    open_ones = {i: r for i, r in reviews.items() if not r.is_done}
    others = {i: r for i, r in open_ones.items() if i != current} or open_ones
    return max(others, key=lambda i: others[i].need) if others else None


def place_to_look_at(review: SegmentReview, grid_node: Node) -> tuple[float, float, float] | None:
    """Where the first flag points, or the middle of the segment (mm, RAS); None for an empty segment."""
    from PWSegmentationLib.review.measures import middle

    for flag in review.flags:
        if flag.position is not None:
            return flag.position
    if not review.segment.voxels:
        return None
    position = image_grid(grid_node).to_world(middle(review.segment))
    return (float(position[0]), float(position[1]), float(position[2]))


def _verdict(segmentation_node: Node, segment_id: str) -> Verdict:
    from PWSegmentationLib.review.record import Verdict

    status = segment_status(_segment(segmentation_node, segment_id)) or "notstarted"
    return Verdict(status, comment(segmentation_node, segment_id))


def _is_same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return all(a is b or a == b for a, b in zip(one, other, strict=True))


def _vtk_segment(segmentation_node: Node, segment_id: str) -> Any:
    return segmentation_node.GetSegmentation().GetSegment(segment_id)


def _segment(segmentation_node: Node, segment_id: str) -> Any:
    segment = _vtk_segment(segmentation_node, segment_id)
    if segment is None:
        raise InputError("That segment is not there any more: choose one in the table.")
    return segment
