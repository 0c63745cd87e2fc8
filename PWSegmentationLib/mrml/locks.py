"""Which segments may not change."""

from __future__ import annotations

import slicer

from PWSegmentationLib.mrml.nodes import Node

# Says of a segment that the user has locked it; saved with the segmentation.
LOCK_TAG = "PWSegmentation.Locked"


def is_locked(segmentation_node: Node, segment_id: str) -> bool:
    """Whether a segment may not change: the user has locked it, or its status is "completed"."""
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        return False
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    return segment.HasTag(LOCK_TAG) or logic.GetSegmentStatus(segment) == logic.Completed


def set_locked(segmentation_node: Node, segment_id: str, locked: bool) -> None:
    """Lock a segment, or release it; a completed one goes back to "in progress" when it is released."""
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if locked:
        segment.SetTag(LOCK_TAG, "1")
        return
    segment.RemoveTag(LOCK_TAG)
    if logic.GetSegmentStatus(segment) == logic.Completed:
        logic.SetSegmentStatus(segment, logic.InProgress)
