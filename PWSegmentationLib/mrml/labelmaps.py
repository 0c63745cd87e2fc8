"""VTK's oriented images as arrays: the binary labelmaps that segments are made of."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from PWSegmentationLib.mrml.nodes import Node, array_to_matrix, matrix_to_array
from PWSegmentationLib.volume.grid import Region

Index: TypeAlias = tuple[int, int, int]


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
    out = np.zeros(region.shape, bool, order="F")
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
    if stored is None:
        return np.zeros(region.shape, np.uint8, order="F")
    return stored.region.fitted(stored.array, region).copy(order="K")


def changed_in_place(
    segmentation_node: Node,
    segment_id: str,
    change: NDArray[np.bool_],
    region: Region,
    *,
    adds: bool,
    over: Collection[str] = (),
) -> bool:
    """Add the voxels of ``change``, over ``region``, to a segment, or take them away, where they are stored.

    The time it takes goes by the region, not by the segment. Nobody is told: neither views nor surfaces follow.
    Segments of ``over`` lose what is added, where they share the labelmap.

    Returns
    -------
    False, and nothing is changed, if the labelmap is too small for what is added, or voxels there are of segments that
    keep them.
    """
    stored = _stored(segmentation_node, segment_id)
    if stored is None:
        return not adds
    common = stored.region.intersection(region)
    if adds and common != region:
        return False
    labels = stored.array[common.relative_to(stored.region).slices]
    change = change[common.relative_to(region).slices]
    segmentation = segmentation_node.GetSegmentation()
    value = segmentation.GetSegment(segment_id).GetLabelValue()
    if not adds:
        np.copyto(labels, 0, where=change & (labels == value))
        return True
    if not np.can_cast(np.min_scalar_type(value), labels.dtype):
        return False
    taken = change & (labels != 0) & (labels != value)
    if taken.any():
        image = segmentation_node.GetBinaryLabelmapInternalRepresentation(segment_id)
        sharing = [i for i in over if segmentation_node.GetBinaryLabelmapInternalRepresentation(i) is image]
        free = [segmentation.GetSegment(i).GetLabelValue() for i in sharing]
        if not np.isin(labels.T[taken.T], free).all():
            return False
    np.copyto(labels, value, where=change)
    return True


def voxel_of(segment: Labelmap) -> Index | None:
    """Where on the lattice some voxel of a segment is; None if it has none."""
    return _first(segment.array, segment.region)


def free_voxel(segmentation_node: Node, segment_id: str) -> Index | None:
    """Where some voxel is that no segment has which shares a segment's labelmap; None if that is full."""
    stored = _stored(segmentation_node, segment_id)
    return None if stored is None else _first(stored.array == 0, stored.region)


def _first(mask: NDArray[np.bool_], region: Region) -> Index | None:
    # Along the rows in memory.
    index = np.unravel_index(int(mask.T.argmax()), mask.T.shape)[::-1]
    i, j, k = (int(n) + start for n, start in zip(index, region.start, strict=True))
    return (i, j, k) if mask[index] else None


def _stored(segmentation_node: Node, segment_id: str) -> Labelmap | None:
    """The labelmap that holds a segment, as a view: its label value, and those of segments it shares it with."""
    if segmentation_node.GetSegmentation().GetSegment(segment_id) is None:
        # Removed meanwhile: asked all the same, Slicer would log an error.
        return None
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
