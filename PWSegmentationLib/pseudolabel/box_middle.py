"""The guess that an object fills the middle of its box, and what clicks leave of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from PWSegmentationLib.pseudolabel.intensity import tissue_step
from PWSegmentationLib.volume.masks import parts_of

#: Semi-axes of the ellipsoid taken as inside when there is only a box, as a share of the box's half-width.
_CORE = 0.35
#: A negative click this near to the middle of that ellipsoid, in semi-axes, tells that the middle is not meant.
_DENIED = 0.5
#: An intensity this many times as near to one click's as to others' is of that click's tissue.
_NEARER = 3.0
#: So many clicks on either side tell which tissue is meant; one may be about a detail.
_CLICKS = 2


def from_middle(limit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far every voxel (I, J, K) is from the middle of the box ``limit``, in semi-axes of the ellipsoid there."""
    where = np.argwhere(limit)
    low, high = where.min(0), where.max(0) + 1
    half = np.maximum((high - low) / 2.0 * _CORE, 0.5)
    grids = np.ogrid[tuple(slice(0, n) for n in limit.shape)]
    squares = sum(((g + 0.5 - (a + b) / 2.0) / h) ** 2 for g, a, b, h in zip(grids, low, high, half, strict=True))
    return np.asarray(np.sqrt(squares))


def box_middle(
    image: NDArray[np.float32],
    valid: NDArray[np.bool_],
    limit: NDArray[np.bool_],
    radius: NDArray[np.float64],
    positive: NDArray[np.bool_],
    negative: NDArray[np.bool_],
    spacing: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """An ellipsoid in the middle of the box ``limit``, (I, J, K) bool: an object that fills most of its box is there.

    Positive clicks do not contradict that, unless the middle is of another tissue than all of these and of the same as
    a negative one. What is nearer to a negative click than to the box's middle and to every positive seed is left
    out, and all of it if that click is right in the middle. Without positive seeds something always remains.

    ``radius``: as `from_middle` says; ``valid`` is False on padding; ``spacing``: voxel size, mm.
    """
    core = (radius <= 1.0) & limit
    if negative.any():
        if positive.any() and radius[negative].min() < _DENIED:
            return np.zeros_like(core)
        inside, outside = positive | (radius == radius.min()), negative
        to_inside, to_outside = (ndimage.distance_transform_edt(~s, sampling=spacing) for s in (inside, outside))
        core &= to_inside < to_outside
    if not positive.any():
        return core if core.any() else limit & ~negative
    return core & ~_of_negative_clicks(image, valid, core, positive, negative)


def _of_negative_clicks(
    image: NDArray[np.float32],
    valid: NDArray[np.bool_],
    core: NDArray[np.bool_],
    positive: NDArray[np.bool_],
    negative: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """The voxels of ``core`` that are of one tissue with a negative click and of none with a positive one."""
    out = np.zeros_like(core)
    inside, outside = _clicked(image, positive), _clicked(image, negative)
    if min(len(inside), len(outside)) < _CLICKS or not core.any():
        return out
    values = image[core][:, None]
    to_inside, to_outside = (cKDTree(clicks[:, None]).query(values)[0] for clicks in (inside, outside))
    out[core] = (to_inside > tissue_step(image, valid)) & (_NEARER * to_outside < to_inside)
    return out


def _clicked(image: NDArray[np.float32], clicks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The median value of every click; (n,)."""
    parts, count = parts_of(clicks)
    return np.atleast_1d(np.array(ndimage.median(image, parts, range(1, count + 1)), dtype=float))
