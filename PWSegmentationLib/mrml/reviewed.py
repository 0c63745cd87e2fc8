"""Segments as they were when somebody last completed or flagged them, and what has changed since, to look at.

The versions lie in a hidden segmentation node that the segmentation refers to, so that they are saved with the scene.
What has changed is shown by another one, which is not saved: added voxels green, removed ones red.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import numpy as np
import slicer
from numpy.typing import NDArray

from PWSegmentationLib.mrml.export import reading_segment
from PWSegmentationLib.mrml.labelmaps import oriented_image, segment_labelmap
from PWSegmentationLib.mrml.nodes import Node, name_of, node_to_world
from PWSegmentationLib.mrml.subject_hierarchy import place_in_folder
from PWSegmentationLib.mrml.terminology import segment_tag
from PWSegmentationLib.mrml.volumes import image_grid
from PWSegmentationLib.progress import finished
from PWSegmentationLib.segments.colors import Color
from PWSegmentationLib.segments.segmentation import Segment
from PWSegmentationLib.volume.grid import Region

KEPT_ROLE, CHANGES_ROLE = "PWSegmentation.Reviewed", "PWSegmentation.Changes"
# Of a version that is kept: another one whenever a segment is kept.
_VERSION_TAG = "PWSegmentation.Version"
_SHOWN: tuple[tuple[str, Color], ...] = (("added", (0.35, 0.82, 0.48)), ("removed", (1.0, 0.29, 0.29)))


def segment_stamp(segmentation_node: Node, segment_id: str) -> tuple[int, int]:
    """Differs whenever a segment's voxels do (and at times when only those of others do, or when they were saved)."""
    image = segmentation_node.GetBinaryLabelmapInternalRepresentation(segment_id)
    value = segmentation_node.GetSegmentation().GetSegment(segment_id).GetLabelValue()
    return (0 if image is None else image.GetMTime(), value)


def only_saved(segmentation_node: Node, before: tuple[int, int], now: tuple[int, int]) -> bool:
    """Whether what led from one `segment_stamp` to the other may be that the node was saved, and nothing else.

    Slicer packs labelmaps anew when it saves them: other images, other values, the same voxels.
    """
    storage = segmentation_node.GetStorageNode()
    return storage is not None and before[0] < now[0] < storage.GetStoredTime().GetMTime()


def keep_version(segmentation_node: Node, segment_id: str) -> None:
    """Keep a segment's voxels as they are now."""
    kept = versions_node(segmentation_node) or make_versions_node(segmentation_node)
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    stored = segment_labelmap(segmentation_node, segment_id)
    region = None if stored is None else Region.around(stored.array)
    image = None
    if stored is not None and region is not None:
        image = oriented_image(stored.array[region.slices], region.shifted(stored.region.start), stored.affine)
    version = _replace(kept, segment_id, segment.GetName(), segment.GetColor(), image)
    version.SetTag(_VERSION_TAG, uuid4().hex)


def versions_node(segmentation_node: Node) -> Node | None:
    """The node that holds what was kept; None if nothing was."""
    return segmentation_node.GetNodeReference(KEPT_ROLE)


def make_versions_node(segmentation_node: Node) -> Node:
    """A node for versions that are kept, with none in it."""
    return _beside(segmentation_node, KEPT_ROLE, "as reviewed")


def kept_version(segmentation_node: Node, segment_id: str, volume_node: Node) -> Segment | None:
    """A segment as it was when it was last completed or flagged, on the image's grid; None if it never was."""
    return finished(reading_kept_version(segmentation_node, segment_id, volume_node))


def reading_kept_version(
    segmentation_node: Node, segment_id: str, volume_node: Node
) -> Generator[None, None, Segment | None]:
    """`kept_version` in parts of a few milliseconds each."""
    kept = _kept(segmentation_node, segment_id)
    return None if kept is None else (yield from reading_segment(kept, segment_id, volume_node, 1))


def kept_stamp(segmentation_node: Node, segment_id: str) -> str | None:
    """Differs between kept versions, and stays as it is when they are saved and loaded; None where there is none."""
    kept = _kept(segmentation_node, segment_id)
    return None if kept is None else segment_tag(kept.GetSegmentation().GetSegment(segment_id), _VERSION_TAG)


def show_changes(segmentation_node: Node, volume_node: Node, before: Segment, after: Segment) -> None:
    """Show in the views what was added (green) and removed (red) from one version of a segment to another."""
    node = segmentation_node.GetNodeReference(CHANGES_ROLE)
    if node is None:
        node = _beside(segmentation_node, CHANGES_ROLE, "changes")
        node.SaveWithSceneOff()
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetVisibility3D(False)
        place_in_folder(segmentation_node.GetScene(), node, volume_node)
    region = before.region.union(after.region)
    old, new = before.over(region), after.over(region)
    for (name, color), mask in zip(_SHOWN, (new & ~old, old & ~new), strict=True):
        _replace(node, name, name, color, _image(mask, region, node, volume_node))


def hide_changes(segmentation_node: Node) -> None:
    """Take what `show_changes` shows out of the views."""
    node = segmentation_node.GetNodeReference(CHANGES_ROLE)
    if node is not None:
        node.GetScene().RemoveNode(node)


def _kept(segmentation_node: Node, segment_id: str) -> Node | None:
    """The node that holds a version of the segment."""
    kept = versions_node(segmentation_node)
    return kept if kept is not None and kept.GetSegmentation().GetSegment(segment_id) is not None else None


def _beside(segmentation_node: Node, role: str, words: str) -> Node:
    """A hidden segmentation node that ``segmentation_node`` refers to, at the same place."""
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(f"{name_of(segmentation_node)} {words}")
    node.HideFromEditorsOn()
    segmentation_node.GetScene().AddNode(node)
    node.SetAndObserveTransformNodeID(segmentation_node.GetTransformNodeID())
    labelmap = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    node.GetSegmentation().SetSourceRepresentationName(labelmap)
    segmentation_node.SetNodeReferenceID(role, node.GetID())
    return node


def _replace(node: Node, segment_id: str, name: str, color: Color, image: Any) -> Any:
    """Give the node a vtkSegment that holds ``image``, or nothing if that is None, instead of the one with this ID."""
    segmentation = node.GetSegmentation()
    if segmentation.GetSegment(segment_id) is not None:
        segmentation.RemoveSegment(segment_id)
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(color)
    if image is not None:
        labelmap = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
        segment.AddRepresentation(labelmap, image)
    segmentation.AddSegment(segment, segment_id)
    return segment


def _image(mask: NDArray[np.bool_], region: Region, node: Node, volume_node: Node) -> Any:
    """``mask`` over ``region`` of the image as a labelmap of the node; None where it holds nothing."""
    box = Region.around(mask)
    if box is None:
        return None
    affine = np.linalg.inv(node_to_world(node)) @ image_grid(volume_node).affine
    return oriented_image(mask[box.slices], box.shifted(region.start), affine)
