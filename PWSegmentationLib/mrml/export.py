"""Segments of the scene into a file, as they are shown: edits by hand and segments of others among them."""

from __future__ import annotations

from pathlib import Path

import slicer

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.labelmaps import segment_labelmap
from PWSegmentationLib.mrml.nodes import Node, name_of
from PWSegmentationLib.mrml.segments import segment_mask
from PWSegmentationLib.mrml.volumes import volume_from_node
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.segments.writing import write_segments
from PWSegmentationLib.volume.grid import Region


def export_segments(segmentation_node: Node, volume_node: Node, path: str | Path) -> None:
    """Write all segments of a segmentation to ``path``.

    ``.seg.nrrd`` keeps names, colours, terminology and overlaps. Any other ending gives a labelmap on the image's grid
    in which the k-th segment of the table has the value k.

    Raises
    ------
    InputError
        If there is nothing to write, or the file cannot be written.
    """
    segmentation = segmentation_node.GetSegmentation()
    ids = [str(i) for i in segmentation.GetSegmentIDs()]
    if not any(segment_labelmap(segmentation_node, i) is not None for i in ids):
        raise InputError(f"'{name_of(segmentation_node)}' has no voxels yet: segment something before exporting it.")
    if str(path).endswith(".seg.nrrd"):
        storage = slicer.vtkMRMLSegmentationStorageNode()
        storage.SetFileName(str(path))
        if not storage.WriteData(segmentation_node):
            raise InputError(f"'{path}' could not be written: choose another folder, or free some disk space.")
        return
    grid = volume_from_node(volume_node).grid
    names = [segmentation.GetSegment(i).GetName() for i in ids]
    if len(set(names)) < len(names):
        raise InputError("Two segments have one name: give each its own name before exporting them.")
    masks = {}
    for segment_id, name in zip(ids, names, strict=True):
        mask = segment_mask(segmentation_node, segment_id, volume_node)
        half = mask.astype("float16")
        masks[name] = Prediction(name, grid, Region.whole(grid.shape), mask, half, half)
    write_segments(masks, grid, path, names=names)
