"""Reviewing segments of the scene: what can be told of one, its status and comment, and which one comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.export import segment_status, segment_tag, segmentation_from_node
from PWSegmentationLib.mrml.nodes import Node
from PWSegmentationLib.mrml.scene_session import SceneSession
from PWSegmentationLib.mrml.volumes import image_grid
from PWSegmentationLib.segments.segmentation import STATUSES, Status

if TYPE_CHECKING:
    from PWSegmentationLib.review.record import Opinion
    from PWSegmentationLib.review.review import SegmentReview

# What a reviewer said of a segment; saved with the segmentation.
COMMENT_TAG = "PWSegmentation.Comment"


def review_segments(segmentation_node: Node, volume_node: Node, case: SceneSession | None) -> dict[str, SegmentReview]:
    """All segments of the scene's segmentation looked at, by ID.

    The second opinion is what the session last predicted; nothing is computed but measures and flags, which takes a
    few tenths of a second for a large organ.
    """
    # Here, for a panel asks for comments, too, and must not wait for scipy.
    from PWSegmentationLib.review.flags import Evidence, flags
    from PWSegmentationLib.review.measures import measure
    from PWSegmentationLib.review.review import SegmentReview, need

    segmentation, grid = segmentation_from_node(segmentation_node, volume_node), image_grid(volume_node)
    prompts = () if case is None else tuple(case.session.prompts)
    found = {}
    ids = [str(i) for i in segmentation_node.GetSegmentation().GetSegmentIDs()]
    for segment_id, segment in zip(ids, segmentation.segments, strict=True):
        prediction = None if case is None else case.prediction(segment_id)
        own = next((p for p in prompts if p.name == segment.name and len(p)), None)
        evidence = Evidence(
            grid=grid,
            image_grid=grid,
            prompts=own,
            others=tuple(p for p in prompts if p.name != segment.name),
            opinion=prediction,
            neighbours=tuple(s for s in segmentation.segments if s is not segment),
        )
        maps: tuple[Any, ...] = ()
        if prediction is not None:
            maps = (prediction.probability, prediction.uncertainty)
        measures = measure(segment, grid, *maps)
        signs = flags(segment, measures, evidence)
        opinion = _opinion(segmentation_node, segment_id)
        found[segment_id] = SegmentReview(segment, measures, signs, opinion, None, need(measures, signs, opinion, None))
    return found


def set_status(segmentation_node: Node, segment_id: str, status: Status) -> None:
    """Set Slicer's own status of a segment; a completed one is locked for prompts. `InputError` for another word."""
    if status not in STATUSES:
        raise InputError(f"There is no status '{status}': choose among {', '.join(STATUSES)}.")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segment = _segment(segmentation_node, segment_id)
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


def next_to_review(reviews: dict[str, SegmentReview], current: str | None = None) -> str | None:
    """The ID of the segment that needs a person most, other than ``current`` if possible; None if all are done."""
    open_ones = {i: r for i, r in reviews.items() if not r.is_done}
    others = {i: r for i, r in open_ones.items() if i != current} or open_ones
    return max(others, key=lambda i: others[i].need) if others else None


def place_to_look_at(review: SegmentReview, grid_node: Node) -> tuple[float, float, float] | None:
    """Where the first flag points, or the middle of the segment (mm, RAS); None for an empty segment."""
    for flag in review.flags:
        if flag.position is not None:
            return flag.position
    segment = review.segment
    if not segment.voxels:
        return None
    middle = np.argwhere(segment.mask).mean(axis=0) + segment.region.start
    position = image_grid(grid_node).to_world(middle)
    return (float(position[0]), float(position[1]), float(position[2]))


def _opinion(segmentation_node: Node, segment_id: str) -> Opinion:
    from PWSegmentationLib.review.record import Opinion

    status = segment_status(_segment(segmentation_node, segment_id)) or "notstarted"
    return Opinion(status, comment(segmentation_node, segment_id))


def _segment(segmentation_node: Node, segment_id: str) -> Any:
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise InputError("That segment is not there any more: choose one in the table.")
    return segment
