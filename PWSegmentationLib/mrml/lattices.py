"""How the voxels of one grid lie on those of another: an image's on a segmentation's.

A lattice is an affine ``(4, 4)`` from voxel index to position; unlike a `Grid` it goes on without end, as indices of
Slicer's labelmaps do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.volume.grid import Grid, Region

# Lattices this close, in voxels, are one: files keep positions to about six digits.
_SAME_VOXEL = 0.01


def lattice_offset(
    lattice: NDArray[np.float64], image: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[int, int, int] | None:
    """Where the image's first voxel is on the lattice, if every voxel of the image is on it; None otherwise."""
    step = np.linalg.inv(lattice) @ image
    ideal = np.eye(4)
    ideal[:3, 3] = np.rint(step[:3, 3])
    if _apart(step, ideal, shape) > _SAME_VOXEL:
        return None
    return (int(ideal[0, 3]), int(ideal[1, 3]), int(ideal[2, 3]))


def coincide(lattice: NDArray[np.float64], image: NDArray[np.float64], shape: tuple[int, int, int]) -> bool:
    """Whether the image's voxels are voxels of the lattice, if only with axes swapped or turned round.

    That happens: Slicer turns left-handed images round when it reads them, and leaves segmentations as they are.
    """
    step = np.linalg.inv(lattice) @ image
    ideal = np.rint(step)
    return round(abs(np.linalg.det(ideal))) == 1 and _apart(step, ideal, shape) < _SAME_VOXEL


def _apart(step: NDArray[np.float64], ideal: NDArray[np.float64], shape: tuple[int, int, int]) -> float:
    """The most that two index mappings ``(4, 4)`` differ by over an image of ``shape``, voxels."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    return float(np.abs((step - ideal) @ np.vstack([corners, np.ones(8)])).max())


def covered(source: Grid, affine: NDArray[np.float64]) -> Region:
    """The part of the lattice ``affine`` whose voxels a grid reaches."""
    faces = [(-0.5, n - 0.5) for n in source.shape]
    corners = source.to_world(np.array(np.meshgrid(*faces)).reshape(3, -1).T)
    index = (np.linalg.inv(affine) @ np.vstack([corners.T, np.ones(8)]))[:3]
    start = np.floor(index.min(axis=1) + 0.5).astype(int)
    stop = np.ceil(index.max(axis=1) - 0.5).astype(int) + 1
    return Region(tuple(int(v) for v in start), tuple(int(v) for v in stop))  # type: ignore[arg-type]


def touched(
    region: Region, image: NDArray[np.float64], lattice: NDArray[np.float64]
) -> tuple[Region, NDArray[np.bool_]]:
    """A part of the lattice, and which of its voxels change when ``region`` of the image does and is resampled."""
    step = np.linalg.inv(image) @ lattice
    # How far a voxel's value is interpolated from, or averaged over where the lattice is coarser; in image voxels.
    reach = np.maximum(np.abs(step[:3, :3]).max(axis=1), 1.0)
    around = region.grown(np.ceil(reach).astype(int))
    start = image.copy()
    start[:3, 3] = (image @ [*around.start, 1.0])[:3]
    where = covered(Grid(around.shape, start), lattice)
    i, j, k = np.ogrid[where.slices]
    out = np.ones(where.shape, bool)
    for axis in range(3):
        index = step[axis, 0] * i + step[axis, 1] * j + step[axis, 2] * k + step[axis, 3]
        out &= (index > region.start[axis] - reach[axis]) & (index < region.stop[axis] - 1 + reach[axis])
    return where, out
