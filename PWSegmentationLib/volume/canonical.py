"""Axes in the order and direction nearest to right, anterior, superior, so that a flip means the same in every case.

Nothing is resampled: an oblique grid stays oblique, only its axes are permuted and reversed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.volume import Volume


@dataclass(frozen=True, eq=False)
class Canonical:
    """The way from a grid to its canonical one and back. ``orientation`` is nibabel's, ``(3, 2)``."""

    source: Grid
    orientation: NDArray[np.float64]

    @classmethod
    def of(cls, grid: Grid) -> Canonical:
        """For ``grid``."""
        return cls(grid, io_orientation(grid.affine))

    @property
    def grid(self) -> Grid:
        """The canonical grid: the same voxels, the same places."""
        affine = self.source.affine @ inv_ornt_aff(self.orientation, self.source.shape)
        order = np.argsort(self.orientation[:, 0]).astype(int)
        shape = tuple(self.source.shape[a] for a in order)
        return Grid(shape, affine)  # type: ignore[arg-type]

    def forth(self, array: NDArray[Any]) -> NDArray[Any]:
        """``[i, j, k]`` of the source as an array of `grid`."""
        return np.asarray(apply_orientation(array, self.orientation))

    def back(self, array: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `forth`."""
        return np.asarray(apply_orientation(array, _inverse(self.orientation)))

    def volume(self, volume: Volume) -> Volume:
        """A volume of the source on `grid`, padding remembered."""
        return Volume(self.forth(volume.array), self.grid).with_padding_of(volume)


def _inverse(orientation: NDArray[np.float64]) -> NDArray[np.float64]:
    inverse = np.empty_like(orientation)
    for source, (target, direction) in enumerate(orientation):
        inverse[int(target)] = (source, direction)
    return inverse
