"""The paper's label: a sum of Gaussians around the points (arXiv 2403.02566, section 3.1).

    g(v) = sum_p exp(-|v - x_p|^2 / (2 sigma^2)),   min-max normalised.

A Gaussian is the product of one factor per axis, so that the sum over the points is a matrix product:
g[i, jk] = sum_p X[p, i] (Y[p, j] Z[p, k]).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from PWSegmentationLib.pseudolabel.label import PseudoLabel

#: The paper's sigma: 10 voxels of 1 mm.
PAPER_SIGMA_MM = 10.0
#: Numbers held at a time for points times voxels of a plane (32 MiB).
_BLOCK = 8 * 2**20
#: The product of three of these is a normal float32.
_NOTHING = 1e-12


def gaussian(
    points_ijk: np.ndarray,
    shape: Sequence[int],
    sigma: float | Sequence[float],
    *,
    spacing: Sequence[float] | None = None,
) -> np.ndarray:
    """Sum of Gaussians around points, min-max normalised to [0, 1]; not thresholded.

    Parameters
    ----------
    points_ijk
        Voxel indices (n, 3), fractional ones too.
    shape
        Voxels per axis.
    sigma
        Standard deviation, one value or one per axis: in voxels, or in mm when `spacing` is given.
    spacing
        Voxel size in mm per axis; makes `sigma` a length.

    Returns
    -------
    numpy.ndarray
        (I, J, K) float32; all ones where the sum is the same everywhere.

    Raises
    ------
    ValueError
        Without a point, or with a sigma that is not positive.
    """
    points = np.asarray(points_ijk, dtype=np.float64)
    if points.size == 0:
        raise ValueError("A Gaussian label needs at least one point.")
    points = points.reshape(-1, 3)
    widths = np.broadcast_to(np.asarray(sigma, dtype=np.float64), (3,))
    if spacing is not None:
        widths = widths / np.asarray(spacing, dtype=np.float64)
    if not np.all(widths > 0):
        raise ValueError("The width of a Gaussian label must be positive.")
    factors = [
        np.exp(-((np.arange(count)[None, :] - points[:, axis, None]) ** 2) / (2.0 * widths[axis] ** 2))
        for axis, count in enumerate(shape)
    ]
    # Products of less would be denormal numbers, with which some processors are twenty times slower.
    x, y, z = (np.where(factor < _NOTHING, 0.0, factor).astype(np.float32) for factor in factors)
    total = np.empty(tuple(int(n) for n in shape), dtype=np.float32)
    # All planes i at once when few points, never more than a block of points times voxels in memory.
    step = max(1, _BLOCK // (len(points) * total.shape[2]))
    for first in range(0, total.shape[1], step):
        yz = (y[:, first : first + step, None] * z[:, None, :]).reshape(len(points), -1)
        total[:, first : first + step] = (x.T @ yz).reshape(total.shape[0], -1, total.shape[2])
    low, high = float(total.min()), float(total.max())
    if not high > low:
        return np.ones_like(total)
    total -= low
    total /= high - low
    return total


def gaussian_label(
    points_ijk: np.ndarray,
    shape: Sequence[int],
    spacing: Sequence[float],
    sigma_mm: float = PAPER_SIGMA_MM,
) -> PseudoLabel:
    """The Gaussian map as a pseudo-label: the method "gaussian".

    As in the paper, values below one half become background. What the paper does not have is the unknown:
    the map only measures closeness to the points, so that its confidence |2 g - 1| vanishes where it lies
    between inside and outside, and a far voxel (g = 0) is trusted as background.

    Parameters
    ----------
    points_ijk
        Voxel indices (n, 3) of the positive points.
    shape, spacing
        Voxels and voxel size (mm) per axis.
    sigma_mm
        Standard deviation, mm.
    """
    values = gaussian(points_ijk, shape, sigma_mm, spacing=spacing)
    confidence = np.abs(2.0 * values - 1.0)
    return PseudoLabel(np.where(values < 0.5, np.float32(0.0), values), confidence.astype(np.float32))
