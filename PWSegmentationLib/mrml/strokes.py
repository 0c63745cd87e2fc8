"""Painted strokes as prompts: segments of a segmentation node, or a labelmap volume of 1 and 2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import vtk

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.labelmaps import segment_labelmap
from PWSegmentationLib.mrml.nodes import Node, name_of, node_to_world
from PWSegmentationLib.mrml.volumes import image_grid, voxels
from PWSegmentationLib.prompts.prompts import Strokes
from PWSegmentationLib.volume.grid import Grid

# Says of a segment what its strokes mean, whatever it is called: "foreground" or "background".
STROKE_TAG = "PWSegmentation.Strokes"

_BACKGROUND_NAMES = frozenset({"background", "bg", "negative", "outside", "not", "-"})


def strokes_from_segmentation(
    node: Node, positive: Sequence[str] | None = None, negative: Sequence[str] | None = None
) -> tuple[Strokes, ...]:
    """Segments painted as strokes; empty ones are left out.

    Parameters
    ----------
    node
        A segmentation node, under linear transforms if any.
    positive, negative
        IDs of the segments painted inside and outside the structure. Without either, every segment counts: as
        background if its tag ``PWSegmentation.Strokes`` says so or, without the tag, if it is called background,
        bg, negative or outside; as foreground otherwise.
    """
    if node is None or not node.IsA("vtkMRMLSegmentationNode"):
        raise InputError("Choose a segmentation in which the strokes are painted.")
    if positive is None and negative is None:
        ids = node.GetSegmentation().GetSegmentIDs()
        negative = [i for i in ids if _is_background(node, i)]
        positive = [i for i in ids if i not in negative]
    to_world = node_to_world(node)
    found = []
    for ids, value in ((positive or (), 1), (negative or (), 2)):
        for segment_id in ids:
            if node.GetSegmentation().GetSegment(segment_id) is None:
                raise InputError(f"'{name_of(node)}' has no segment '{segment_id}': choose the strokes again.")
            painted = segment_labelmap(node, segment_id)
            if painted is not None and painted.array.any():
                lattice = to_world @ painted.affine
                lattice[:3, 3] = (lattice @ [*painted.region.start, 1.0])[:3]
                found.append(Strokes.from_labelmap(painted.array.astype(np.uint8) * value, lattice))
    return tuple(found)


def strokes_from_labelmap_node(node: Node) -> Strokes:
    """A labelmap volume in which 1 was painted inside the structure and 2 outside."""
    if node is None or not node.IsA("vtkMRMLVolumeNode"):
        raise InputError("Choose a labelmap volume in which the strokes are painted.")
    labels = voxels(node)
    grid: Grid = image_grid(node)
    try:
        return Strokes.from_labelmap(labels, grid.affine)
    except InputError as error:
        raise InputError(f"'{name_of(node)}': {error}") from error


def _is_background(node: Node, segment_id: str) -> bool:
    segment = node.GetSegmentation().GetSegment(segment_id)
    tag = vtk.reference("")
    if segment.GetTag(STROKE_TAG, tag):
        return str(tag) == "background"
    return segment.GetName().strip().lower() in _BACKGROUND_NAMES
