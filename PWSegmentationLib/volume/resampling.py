"""From one grid to another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.volume.grid import Grid


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
    if order == 1 and outside is None and np.allclose(matrix, np.diag(np.diag(matrix)), atol=1e-9):
        return _resample_parallel(array, np.diag(matrix), offset, target.shape)
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


def _resample_parallel(
    array: NDArray[Any], step: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Triangular interpolation along one axis after the other: linear where finer, averaging where coarser."""
    weights = [_axis_weights(array.shape[a], shape[a], step[a], offset[a]) for a in range(3)]
    out = np.ascontiguousarray(array, dtype=np.float32)
    # The axis that shrinks most first, so that the others have less to do.
    for axis in sorted(range(3), key=lambda a: shape[a] / array.shape[a]):
        weight = weights[axis]
        if axis == 0:
            out = (weight @ out.reshape(out.shape[0], -1)).reshape(-1, *out.shape[1:])
        elif axis == 1:
            out = np.matmul(weight, out)
        else:
            out = out @ weight.T
    return np.ascontiguousarray(out)


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
