"""Whether what was clicked is a small thing that stands out from what surrounds it: a lesion in an organ, a vessel.

From far, a click on a lesion in the liver is a click on the liver: on the coarse grid, and in the range of intensities
of all that is seen from there, the lesion hardly shows. So the surroundings of the clicks are looked at on their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from PWSegmentationLib.prediction.view import View

# How far around the clicks is looked at, mm, and the radii that are tried.
SURROUNDINGS_MM = 30.0
_RADII_MM = (3.0, 4.0, 5.5, 7.5, 10.0, 13.5, 18.0)
# The core is what lies within this share of a radius, the surroundings begin at that one and are so thick.
_CORE, _BEGIN, _THICK, _THICK_MM = 0.7, 1.3, 0.4, 3.0
# Noise is smoothed away with this standard deviation, mm.
_SMOOTH_MM = 1.2
# All but this share of the surroundings are on one side of the core's median, by so many of their robust standard
# deviations.
_SHARE, _STANDS_OUT = 10.0, 2.0
# Fewer voxels say nothing.
_CORE_VOXELS, _AROUND_VOXELS = 3, 10


def radius_standing_out(view: View, clicks: NDArray[np.float64]) -> float | None:
    """The radius, mm, at which what is around ``clicks`` (n, 3; mm, RAS) stands out most; None where nothing does."""
    image = ndimage.gaussian_filter(view.image, _SMOOTH_MM / np.array(view.grid.spacing))
    voxels = view.grid.to_world(np.argwhere(view.valid))
    distance = cKDTree(clicks).query(voxels, distance_upper_bound=_BEGIN * _RADII_MM[-1] + 8.0)[0]
    values = image[view.valid]
    # What is without noise, or even, is no division by nothing, whatever the unit is.
    least = max(1e-6 * float(np.ptp(image)), float(np.finfo(np.float32).tiny))
    best = max((_contrast(values, distance, radius, least), radius) for radius in _RADII_MM)
    return best[1] if best[0] >= _STANDS_OUT else None


def _contrast(values: NDArray[np.float32], distance: NDArray[np.float64], radius: float, least: float) -> float:
    """By how much the core of a ball differs from nearly all around it, in robust standard deviations of the latter.

    These count as ``least`` at least, in the unit of ``values``.
    """
    core = values[distance <= _CORE * radius]
    begin = _BEGIN * radius
    around = values[(distance > begin) & (distance <= begin + max(_THICK_MM, _THICK * radius))]
    if len(core) < _CORE_VOXELS or len(around) < _AROUND_VOXELS:
        return 0.0
    middle, outer = float(np.median(core)), float(np.median(around))
    spread = 1.4826 * float(np.median(np.abs(around - outer)))
    if middle < outer:
        middle, around = -middle, -around
    nearest = float(np.percentile(around, 100.0 - _SHARE))
    return (middle - nearest) / max(spread, least)
