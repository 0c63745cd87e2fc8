"""Where voxels are: a sampling grid in patient space, and boxes of voxels inside it.

This is the one place that documents axes and units; everything else refers to it.

* Arrays are indexed ``[i, j, k]``; ``i`` is the fastest axis in a NIfTI, NRRD or DICOM file.
* World coordinates are millimetres, RAS (right, anterior, superior positive), the convention of 3D Slicer's
  scene and of nibabel. Files that say LPS are converted on reading and writing.
* ``affine`` maps a voxel index to the world position of that voxel's *centre*:
  ``(r, a, s, 1) = affine @ (i, j, k, 1)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PWSegmentationLib.errors import InputError

# World x and y change sign between RAS and LPS.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Region:
    """A box of voxels, ``start`` inclusive, ``stop`` exclusive, in ``(i, j, k)``."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Region:
        """The region that covers an array of ``shape``."""
        return cls((0, 0, 0), (int(shape[0]), int(shape[1]), int(shape[2])))

    @classmethod
    def around(cls, mask: NDArray[np.bool_]) -> Region | None:
        """The bounding box of the true voxels of ``mask``; None where there are none."""
        bounds = []
        for axis in range(3):
            hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
            if len(hit) == 0:
                return None
            bounds.append((int(hit[0]), int(hit[-1]) + 1))
        return cls(tuple(b[0] for b in bounds), tuple(b[1] for b in bounds))  # type: ignore[arg-type]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis, never negative."""
        return tuple(max(0, b - a) for a, b in zip(self.start, self.stop, strict=True))  # type: ignore[return-value]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """For indexing an array: ``array[region.slices]``."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))  # type: ignore[return-value]

    @property
    def is_empty(self) -> bool:
        """Whether the region holds no voxel."""
        return 0 in self.shape

    def union(self, other: Region) -> Region:
        """The smallest region that holds both (an empty region adds nothing)."""
        if other.is_empty or self.is_empty:
            return self if other.is_empty else other
        start = tuple(min(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = tuple(max(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        return Region(start, stop)  # type: ignore[arg-type]

    def intersection(self, other: Region) -> Region:
        """The voxels in both; may be empty."""
        start = tuple(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = tuple(max(min(a, b), s) for a, b, s in zip(self.stop, other.stop, start, strict=True))
        return Region(start, stop)  # type: ignore[arg-type]

    def shifted(self, offset: Sequence[int]) -> Region:
        """The region moved by ``offset`` voxels."""
        start = tuple(a + int(o) for a, o in zip(self.start, offset, strict=True))
        stop = tuple(b + int(o) for b, o in zip(self.stop, offset, strict=True))
        return Region(start, stop)  # type: ignore[arg-type]

    def relative_to(self, outer: Region) -> Region:
        """The same voxels, counted from where ``outer`` starts: for indexing an array that covers it."""
        return self.shifted([-s for s in outer.start])

    def grown(self, voxels: int | Sequence[int] | NDArray[np.integer]) -> Region:
        """The region with ``voxels`` more on every side, one number or one per axis; may reach out of the array."""
        by = np.broadcast_to(voxels, 3)
        return Region(
            tuple(int(v) for v in np.subtract(self.start, by)),  # type: ignore[arg-type]
            tuple(int(v) for v in np.add(self.stop, by)),  # type: ignore[arg-type]
        )

    def slabs(self, voxels: int) -> list[Region]:
        """The region cut across ``k`` into parts of about so many voxels, one layer at least."""
        (i, j, first), (i_stop, j_stop, last) = self.start, self.stop
        thick = max(1, voxels // max(1, self.shape[0] * self.shape[1]))
        return [Region((i, j, k), (i_stop, j_stop, min(k + thick, last))) for k in range(first, last, thick)]

    def fitted(self, array: NDArray[Any], target: Region) -> NDArray[Any]:
        """``array``, which covers this region, cut and filled up with zeros so that it covers ``target``."""
        if self == target:
            return array
        # Axes in the same order in memory, or every copy goes across it.
        out = np.zeros_like(array, shape=target.shape)
        common = self.intersection(target)
        if not common.is_empty:
            out[common.relative_to(target).slices] = array[common.relative_to(self).slices]
        return out


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular sampling of patient space.

    Parameters
    ----------
    shape
        Voxels along ``i, j, k``; all at least 1.
    affine
        ``(4, 4)``, voxel index to world mm (RAS), see the module. It may be oblique, left-handed, anisotropic
        or sheared; it must be finite and invertible.

    Raises
    ------
    InputError
        If the shape or the affine cannot describe a volume.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"A volume needs three axes with at least one voxel each; this one has shape {shape}.")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], [0, 0, 0, 1]):
            raise InputError("The IJK-to-RAS matrix must be 4 by 4, finite and end with the row 0 0 0 1.")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        # Of the directions alone, however small or large the voxels are.
        if spacing.min() == 0 or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-9:
            raise InputError("The IJK-to-RAS matrix is singular: give every axis a spacing and its own direction.")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along ``i, j, k``, mm."""
        s = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(s[0]), float(s[1]), float(s[2]))

    @cached_property
    def inverse(self) -> NDArray[np.float64]:
        """``(4, 4)``, world mm (RAS) to voxel index."""
        return np.asarray(np.linalg.inv(self.affine))

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel, mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def same_as(self, other: Grid) -> bool:
        """Whether both sample the same places (within a hundredth of a voxel)."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        return bool(np.abs(other.to_index(self.to_world(corners)) - corners).max() < 0.01)

    def to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """World positions, mm RAS, shape ``(..., 3)``, of (fractional) voxel indices ``(..., 3)``."""
        return np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, world: ArrayLike) -> NDArray[np.float64]:
        """Fractional voxel indices ``(..., 3)`` of world positions ``(..., 3)``, mm RAS."""
        return np.asarray(world, dtype=np.float64) @ self.inverse[:3, :3].T + self.inverse[:3, 3]

    def to_voxel(self, world: ArrayLike) -> NDArray[np.int64]:
        """Index of the voxel that holds each world position; may lie outside the grid.

        A position on the face between two voxels belongs to the one with the higher index (round half up, and
        not half to even, so that neighbouring faces are treated alike); one on the outermost face to the voxel there.
        """
        index = self.to_index(world)
        voxel = np.floor(index + 0.5).astype(np.int64)
        return np.where(self._holds(index), np.clip(voxel, 0, np.array(self.shape) - 1), voxel)

    def contains(self, world: ArrayLike) -> NDArray[np.bool_]:
        """Whether world positions lie in a voxel of the grid (not just between voxel centres)."""
        return np.asarray(self._holds(self.to_index(world)).all(axis=-1))

    def _holds(self, index: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the grid reaches as far as fractional indices ``(..., 3)``, along each axis."""
        # A hundred-thousandth of a voxel of slack: a click on the outermost face is inside.
        return np.asarray((index >= -0.50001) & (index <= np.array(self.shape) - 0.49999))

    def crop(self, region: Region) -> Grid:
        """The grid of ``array[region.slices]``."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(region.start)
        return Grid(region.shape, affine)

    def resampled(self, spacing: Sequence[float] | NDArray[np.float64]) -> Grid:
        """A grid over the same field of view (voxel faces, not centres) with about the given spacing, mm.

        The number of voxels is rounded up and the spacing adapted so that both grids end at the same faces.
        """
        size = np.array(self.shape) * self.spacing
        shape = np.maximum(1, np.ceil(size / np.asarray(spacing, dtype=float) - 1e-6)).astype(int)
        zoom = np.array(self.shape) / shape
        affine = self.affine.copy()
        affine[:3, :3] *= zoom
        affine[:3, 3] = self.to_world(0.5 * zoom - 0.5)
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    def region_of(self, world: ArrayLike, margin: float = 0.0) -> Region:
        """The voxels that hold world positions ``(n, 3)`` and ``margin`` mm around, clipped to the grid."""
        voxels = np.clip(self.to_voxel(np.atleast_2d(world)), 0, np.array(self.shape) - 1)
        reach = np.ceil(margin / self._face_distance).astype(int)
        start = np.maximum(voxels.min(axis=0) - reach, 0)
        stop = np.minimum(voxels.max(axis=0) + reach + 1, self.shape)
        return Region(tuple(int(v) for v in start), tuple(int(v) for v in stop))  # type: ignore[arg-type]

    @cached_property
    def _face_distance(self) -> NDArray[np.float64]:
        """Distance between opposite faces of a voxel, mm: the spacing, or less where the axes are sheared."""
        return np.asarray(1.0 / np.linalg.norm(self.inverse[:3, :3], axis=1))
