"""VTK's oriented images as arrays: the binary labelmaps that segments are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from PWSegmentationLib.mrml.nodes import Node, array_to_matrix, matrix_to_array
from PWSegmentationLib.volume.grid import Region


@dataclass(frozen=True, eq=False)
class Labelmap:
    """``array`` ``[i, j, k]`` over ``region`` of the lattice that ``affine`` spans (own coordinates of the node)."""

    array: NDArray[Any]
    region: Region
    affine: NDArray[np.float64]


def segment_labelmap(segmentation_node: Node, segment_id: str) -> Labelmap | None:
    """The voxels of one segment as bool, as it is stored; None where it is empty.

    Indices are those of the stored labelmap: they may be negative, and need not be the image's.
    """
    stored = _stored(segmentation_node, segment_id)
    if stored is None:
        return None
    value = segmentation_node.GetSegmentation().GetSegment(segment_id).GetLabelValue()
    return Labelmap(stored.array == value, stored.region, stored.affine)


def segment_ml(segmentation_node: Node, segment_id: str) -> float:
    """The volume of a segment's voxels."""
    stored = segment_labelmap(segmentation_node, segment_id)
    if stored is None:
        return 0.0
    return float(np.count_nonzero(stored.array)) * abs(float(np.linalg.det(stored.affine[:3, :3]))) / 1000.0


def segment_within(segmentation_node: Node, segment_id: str, region: Region) -> NDArray[np.bool_]:
    """The voxels of one segment over ``region`` of its stored labelmap's indices, without looking at the rest."""
    stored = _stored(segmentation_node, segment_id)
    out = np.zeros(region.shape, bool)
    if stored is not None:
        value = segmentation_node.GetSegmentation().GetSegment(segment_id).GetLabelValue()
        common = stored.region.intersection(region)
        if not common.is_empty:
            source = stored.array[common.relative_to(stored.region).slices]
            out[common.relative_to(region).slices] = source == value
    return out


def labels_within(segmentation_node: Node, segment_id: str, region: Region) -> NDArray[Any]:
    """A copy of the labelmap that holds a segment, over ``region`` of its indices: labels of all that share it."""
    stored = _stored(segmentation_node, segment_id)
    return np.zeros(region.shape, np.uint8) if stored is None else stored.region.fitted(stored.array, region).copy()


def _stored(segmentation_node: Node, segment_id: str) -> Labelmap | None:
    """The labelmap that holds a segment, as a view: its label value, and those of segments it shares it with."""
    image = segmentation_node.GetBinaryLabelmapInternalRepresentation(segment_id)
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        return None
    labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]).T
    return Labelmap(labels, extent_region(image.GetExtent()), image_affine(image))


def oriented_image(mask: NDArray[np.bool_], region: Region, affine: NDArray[np.float64]) -> Any:
    """``mask`` ``[i, j, k]`` over ``region`` as a vtkOrientedImageData of 0 and 1."""
    image = slicer.vtkOrientedImageData()
    image.SetExtent(*region_extent(region))
    image.SetGeometryFromImageToWorldMatrix(array_to_matrix(affine))
    flat = np.ascontiguousarray(mask.T, dtype=np.uint8).reshape(-1)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    return image


def image_affine(image: Any) -> NDArray[np.float64]:
    """``(4, 4)``, index to position of an oriented image."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return matrix_to_array(matrix)


def extent_region(extent: Any) -> Region:
    """VTK's extent (last index included) as a region."""
    return Region(tuple(extent[::2]), tuple(v + 1 for v in extent[1::2]))  # type: ignore[arg-type]


def region_extent(region: Region) -> list[int]:
    """A region as VTK's extent (last index included)."""
    return [int(v) for a, b in zip(region.start, region.stop, strict=True) for v in (a, b - 1)]
