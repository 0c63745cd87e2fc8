"""Intensities without surprises: padding found, robust normalisation that is the same for CT and MR."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Enough for percentiles; keeps the cost independent of the volume's size.
_SAMPLE_VOXELS = 1_000_000

# Values as large as this are fill values (1e20, FLT_MAX) or damage; sums and squares of smaller ones fit float32.
LARGEST = 1e18

# What air is given where an organ was cut out of a CT, Hounsfield units.
_CT_AIR = (-1024.0, -1000.0)

# Images with fewer values than this (besides the lowest) were drawn, not measured.
_FEW_VALUES = 16

# Soft tissue, Hounsfield units.
CT_WINDOW = (-160.0, 240.0)


def find_padding(array: NDArray[Any]) -> float | None:
    """The value below which voxels are padding; None where there is no padding.

    Scanners and resampling tools fill what was not measured with one value far below all others (−2048, −3024,
    −32768). That value is recognised, in any modality, by being the minimum, frequent (at least 0.1 % of the
    voxels) and further below the 1st percentile of the rest than a quarter of the rest's 1–99 % range.
    The limit returned lies half way, so that voxels blended with padding by interpolation go with it.
    An air background of 0 in MR is no padding: real values follow it without a gap. Neither is 0 or the value of air
    in CT with a gap, as around an organ or a brain that was cut out: it is what lies around the object. And images of
    a few values (phantoms, masks) have a background, no padding.
    """
    values = _sample(array)
    if values.size == 0:
        return None
    lowest = float(values.min())
    is_lowest = values == lowest
    rest = values[~is_lowest]
    if rest.size == 0 or is_lowest.mean() < 1e-3 or lowest == 0 or _CT_AIR[0] <= lowest <= _CT_AIR[1]:
        return None
    if len(np.unique(rest[:: max(1, len(rest) // 10_000)])) < _FEW_VALUES:
        return None
    low, high = np.percentile(rest, [1, 99])
    if lowest >= low - 0.25 * max(float(high - low), 1e-12):
        return None
    return 0.5 * (lowest + float(low))


def robust_range(array: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """The 0.5th and 99.5th percentile of the measurable (and ``valid``) voxels, a little apart even if constant."""
    values = _sample(array if valid is None else array[valid])
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
    return low, high if high > low else low + 1.0


def shown_range(array: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """What to show as black and as white: the robust range, or in CT the window of soft tissue."""
    low, high = robust_range(array, valid)
    # In CT most of the range is air and bone; organs are told apart in between.
    return CT_WINDOW if low < -800 and high > CT_WINDOW[1] else (low, high)


def normalise(array: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """``array`` as float32 in [0, 1]: its robust range stretched, the tails clipped, invalid voxels 0.

    The result does not change when intensities are multiplied by a positive number or shifted.
    """
    low, high = robust_range(array, valid)
    with np.errstate(over="ignore"):
        finite = np.nan_to_num(array.astype(np.float32), nan=low, posinf=high, neginf=low)
    out = np.clip((finite - np.float32(low)) / np.float32(high - low), 0, 1)
    if valid is not None:
        out[~valid] = 0
    return out.astype(np.float32, copy=False)


def measurable(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values may be measurements: neither NaN nor infinite, nor so large that they are none."""
    if array.dtype.kind != "f":
        return np.ones(array.shape, bool)
    return np.asarray(np.abs(array) < array.dtype.type(LARGEST))


def _sample(array: NDArray[Any]) -> NDArray[np.float64]:
    """At most about a million measurable voxels, evenly strided along every axis, as float64."""
    step = max(1, int(np.ceil((array.size / _SAMPLE_VOXELS) ** (1 / array.ndim))))
    values = array[(slice(None, None, step),) * array.ndim].ravel()
    return np.asarray(values[measurable(values)].astype(np.float64))
