"""What masks are made of: parts, the depth of voxels in them, and how far two agree. Arrays ``[i, j, k]`` alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def parts_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Numbers 1… of the parts of a mask, 0 where it is not, and how many parts there are.

    Voxels that touch with a face, an edge or a corner are of one part (26-connected).
    """
    from scipy import ndimage

    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return parts, int(count)


def largest_part(mask: NDArray[np.bool_], *, corners: bool = False) -> NDArray[np.bool_]:
    """The largest part of a mask; voxels that share a face are of one part, or with ``corners`` any that touch."""
    from scipy import ndimage

    parts, count = parts_of(mask) if corners else ndimage.label(mask)
    if count <= 1:
        return mask
    return np.asarray(parts == 1 + np.bincount(parts.ravel())[1:].argmax())


def depth_mm(mask: NDArray[np.bool_], spacing: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """How deep every voxel lies in a mask, mm: its distance to what is outside, as is all beyond the array."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1])


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Twice the overlap of two masks over the sum of their voxels; 1 if both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * float(np.count_nonzero(a & b)) / total if total else 1.0
