"""Segments on another grid that has their voxels, among others or in another order: nothing is resampled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.segments.segmentation import Segment, Segmentation
from PWSegmentationLib.volume.grid import Grid, Region

# How far voxels may lie from each other to be the same ones, in voxels; as in `Grid.same_as`.
_SAME = 0.01


def placed(segmentation: Segmentation, grid: Grid) -> Segmentation:
    """A segmentation on ``grid``, an image's, if it covers a part of that, with axes in any order; else as it is.

    Slicer keeps the part in which segments are, and turns left-handed images round. What reaches out of the image was
    drawn on another one.
    """
    here = segmentation.grid
    if here.same_as(grid) or _place(here, grid, _SAME) is None:
        return segmentation
    found: list[Segment] = []
    for segment in segmentation.segments:
        place = None if segment.region.is_empty else moved(segment.mask, here.crop(segment.region), grid, _SAME)
        found.append(segment if place is None else replace(segment, region=place[0], mask=place[1]))
    return Segmentation(grid, tuple(found))


def moved(mask: NDArray[np.bool_], here: Grid, grid: Grid, tolerance: float) -> tuple[Region, NDArray[np.bool_]] | None:
    """A mask on another grid of the same voxels, whose axes may be swapped or run the other way; None if it is not."""
    place = _place(here, grid, tolerance)
    if place is None:
        return None
    region, step = place
    axes = np.abs(step).argmax(axis=1)
    turned = mask.transpose(axes)
    flips = tuple(slice(None, None, int(step[n, axes[n]])) for n in range(3))
    return region, np.ascontiguousarray(turned[flips])


def _place(here: Grid, grid: Grid, tolerance: float) -> tuple[Region, NDArray[np.int_]] | None:
    """Where ``here`` lies on ``grid``, and the steps there along its axes ``(3, 3)``; None if not on its voxels."""
    step = np.rint(grid.inverse[:3, :3] @ here.affine[:3, :3]).astype(int)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in here.shape])).reshape(3, -1).T
    ends = grid.to_index(here.to_world(corners))
    start = np.rint(ends.min(axis=0)).astype(int)
    stop = np.rint(ends.max(axis=0)).astype(int) + 1
    exact = np.abs(ends - np.rint(ends)).max() < tolerance and (np.abs(step).sum(axis=0) == 1).all()
    if not exact or (start < 0).any() or (stop > grid.shape).any():
        return None
    return Region(tuple(start.tolist()), tuple(stop.tolist())), step
