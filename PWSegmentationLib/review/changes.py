"""What has changed in a segment since it was last reviewed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.segments.segmentation import Segment
from PWSegmentationLib.volume.grid import Grid


@dataclass(frozen=True)
class Changes:
    """Dice of both versions, and the volumes that were added and removed since, mL."""

    dice: float
    added_ml: float
    removed_ml: float

    @property
    def is_none(self) -> bool:
        """Whether both versions are the same, voxel for voxel."""
        return self.added_ml == 0 and self.removed_ml == 0


def changes(before: Segment, after: Segment, grid: Grid) -> Changes:
    """Compare two versions of a segment on one grid."""
    region = before.region.union(after.region)
    old, new = before.over(region), after.over(region)
    both, total = int(np.count_nonzero(old & new)), before.voxels + after.voxels
    size = grid.voxel_volume / 1000.0
    dice = 2.0 * both / total if total else 1.0
    return Changes(dice, (after.voxels - both) * size, (before.voxels - both) * size)


def added_and_removed(before: Segment, after: Segment, grid: Grid) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The voxels that were added and removed, bool ``[i, j, k]`` over the whole grid."""
    out = np.zeros((2, *grid.shape), bool)
    region = before.region.union(after.region)
    old, new = before.over(region), after.over(region)
    out[0][region.slices], out[1][region.slices] = new & ~old, old & ~new
    return out[0], out[1]
