"""From one grid to another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.volume.grid import Grid, Region


def resample(
    array: NDArray[Any], source: Grid, target: Grid, *, order: int = 1, outside: float | None = None
) -> NDArray[np.float32]:
    """Sample ``array`` (on ``source``) at the voxel centres of ``target``.

    Parameters
    ----------
    array
        ``[i, j, k]`` on ``source``; finite.
    order
        0 nearest (labels), 1 linear.
    outside
        Value beyond the source; None repeats the outermost voxel.

    Where the target is coarser, what it cannot carry is averaged out first (not for ``order=0``), so that a thin
    structure fades and does not come and go with the position of the grid. Grids whose axes are parallel take a
    fast path: one small matrix per axis.
    """
    step = source.inverse @ target.affine
    matrix, offset = step[:3, :3], step[:3, 3]
    if order == 1 and _parallel(matrix):
        steps = np.diag(matrix)
        values = _resample_parallel(array, steps, offset, target.shape)
        if outside is None:
            return values
        level = np.float32(outside)
        return level + _covered(array.shape, steps, offset, target.shape) * (values - level)
    # Imported on use: a panel opens before SciPy is installed.
    from scipy import ndimage

    data = np.asarray(array, dtype=np.float32)
    return np.asarray(
        ndimage.affine_transform(
            _smoothed(data, matrix) if order > 0 else data,
            matrix,
            offset=offset,
            output_shape=target.shape,
            order=order,
            mode="nearest" if outside is None else "grid-constant",
            cval=outside or 0.0,
        )
    )


def _covered(
    source: tuple[int, ...], step: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """1 on the source, down to 0 a voxel beyond it: ``shape``."""
    i, j, k = (
        np.clip(1.0 - np.abs(np.clip(where, 0, count - 1) - where), 0.0, 1.0).astype(np.float32)
        for where, count in ((offset[a] + step[a] * np.arange(shape[a]), source[a]) for a in range(3))
    )
    return np.asarray(i[:, None, None] * j[:, None] * k)


def resampled_slabs(
    array: NDArray[Any], source: Grid, target: Grid, voxels: int
) -> Iterator[tuple[Region, NDArray[np.float32]]]:
    """What `resample` gives by default, in slabs of about ``voxels``, so that a large target is never whole in memory.

    Each slab is a region of the target and its values; arrays on the same two grids come in the same slabs.
    """
    step = source.inverse @ target.affine
    matrix, offset = step[:3, :3], step[:3, 3]
    whole = Region.whole(target.shape)
    if not _parallel(matrix):
        yield whole, resample(array, source, target)
        return
    *first, last = _order(array.shape, target.shape)
    weights = [_axis_weights(array.shape[a], target.shape[a], matrix[a, a], offset[a]) for a in range(3)]
    values = np.ascontiguousarray(array, dtype=np.float32)
    for axis in first:
        values = _along(axis, weights[axis], values)
    count = target.shape[last]
    thickness = max(1, voxels * count // math.prod(target.shape))
    for start in range(0, count, thickness):
        stop = min(count, start + thickness)
        bounds = [(0, n) if axis != last else (start, stop) for axis, n in enumerate(target.shape)]
        region = Region(tuple(a for a, _ in bounds), tuple(b for _, b in bounds))  # type: ignore[arg-type]
        yield region, np.ascontiguousarray(_along(last, weights[last][start:stop], values))


def _parallel(matrix: NDArray[np.float64]) -> bool:
    return bool(np.allclose(matrix, np.diag(np.diag(matrix)), atol=1e-9))


def _resample_parallel(
    array: NDArray[Any], step: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Triangular interpolation along one axis after the other: linear where finer, averaging where coarser."""
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        # Most files have i fastest in memory. Turned round, a large image need not be written anew before it is small.
        return np.ascontiguousarray(_resample_parallel(array.T, step[::-1], offset[::-1], shape[::-1]).T)
    out = np.ascontiguousarray(array, dtype=np.float32)
    for axis in _order(array.shape, shape):
        out = _along(axis, _axis_weights(array.shape[axis], shape[axis], step[axis], offset[axis]), out)
    return np.ascontiguousarray(out)


def _order(source: tuple[int, ...], target: tuple[int, ...]) -> list[int]:
    """Axes, the one that shrinks most first, so that the others have less to do."""
    return sorted(range(3), key=lambda a: target[a] / source[a])


def _along(axis: int, weight: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """``weight`` ``(target, source)`` applied to one axis of ``values`` ``(i, j, k)``."""
    if axis == 0:
        return np.asarray((weight @ values.reshape(values.shape[0], -1)).reshape(-1, *values.shape[1:]))
    return np.asarray(np.matmul(weight, values) if axis == 1 else values @ weight.T)


def _axis_weights(source: int, target: int, step: float, offset: float) -> NDArray[np.float32]:
    """``(target, source)`` triangular weights of half-width max(1, step) source voxels; rows sum to one."""
    position = np.clip(offset + step * np.arange(target), 0, source - 1)
    weight = np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(source)) / max(1.0, abs(step)))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), dtype=np.float32)


def _smoothed(data: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """``data`` smoothed as much as the target is coarser: a Gaussian as wide as the triangle of the fast path."""
    from scipy import ndimage

    # How far, in source voxels along each source axis, one target step reaches at most; a triangle of half-width w
    # has the standard deviation w/√6, of which linear interpolation itself gives 1/√6.
    ratio = np.abs(matrix).max(axis=1)
    sigma = np.sqrt(np.maximum(ratio**2 - 1.0, 0.0) / 6.0)
    sigma[sigma < 0.2] = 0.0
    return np.asarray(ndimage.gaussian_filter(data, sigma, mode="nearest")) if sigma.any() else data
