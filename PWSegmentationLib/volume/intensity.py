"""Intensities without surprises: padding found, robust normalisation that is the same for CT and MR."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Enough for percentiles; keeps the cost independent of the volume's size.
_SAMPLE_VOXELS = 1_000_000

# Where a strided sample holds fewer valid voxels than these, all of them are looked at.
_FEW_VOXELS = 10_000

# Values as large as this are fill values (1e20, FLT_MAX) or damage; sums and squares of smaller ones fit float32.
LARGEST = 1e18

# What air is given where an organ was cut out of a CT, Hounsfield units.
_CT_AIR = (-1024.0, -1000.0)

# Images with fewer values than this (besides the lowest) were drawn, not measured.
_FEW_VALUES = 16

# What fills the image above all others is near the ends of 16-bit numbers, so many of the others' 1–99 % ranges above
# them, and at most this share as many voxels lie half way there.
_LARGE, _FAR_ABOVE, _BETWEEN = 30_000.0, 3.0, 0.1

# So many times their range away from 0, values are rounded noticeably in float32.
_FAR_FROM_0 = 1e4

# Soft tissue, Hounsfield units.
CT_WINDOW = (-160.0, 240.0)


def find_padding(array: NDArray[Any]) -> float | None:
    """The value below which voxels are padding; None where there is no padding.

    Scanners and resampling tools fill what was not measured with one value far below all others (−2048, −3024,
    −32768). That value is recognised, in any modality, by being the minimum, frequent (at least 0.1 % of the
    voxels), at the image's faces, and further below the 1st percentile of the rest than a quarter of the rest's
    1–99 % range. The limit returned lies half way, so that voxels blended with padding by interpolation go with it.
    An air background of 0 in MR is no padding: real values follow it without a gap. Neither is 0 or the value of air
    in CT with a gap, as around an organ or a brain that was cut out: it is what lies around the object. And images of
    a few values (phantoms, masks) have a background, no padding.
    """
    found = _far_below(array)
    return None if found is None or _cut_out(found[0]) else 0.5 * (found[0] + found[1])


def find_floor(array: NDArray[Any]) -> float | None:
    """The value that darker voxels are raised to before they are worked on; None where there are none.

    What lies around an organ that was cut out of a CT may be a thousand Hounsfield units darker. It is told apart as
    well from nearer by, and then what differs by a few units within the organ is, too.
    """
    found = _far_below(array)
    if found is None or not _cut_out(found[0]):
        return None
    lowest, low, high = found
    return max(lowest, low - 0.5 * (high - low))


def _cut_out(lowest: float) -> bool:
    """Whether this is what something is put into that was cut out of an image."""
    return lowest == 0 or _CT_AIR[0] <= lowest <= _CT_AIR[1]


def _far_below(array: NDArray[Any]) -> tuple[float, float, float] | None:
    """A frequent lowest value at the faces, with a gap, and 1st and 99th percentile of the rest; None without one."""
    values = _sample(array)
    if values.size == 0:
        return None
    lowest = float(values.min())
    is_lowest = values == lowest
    rest = values[~is_lowest]
    if is_lowest.mean() < 1e-3 or _drawn(rest) or not _at_faces(array, lowest):
        return None
    low, high = (float(v) for v in np.percentile(rest, [1, 99]))
    return (lowest, low, high) if lowest < low - 0.25 * max(high - low, 1e-12) else None


def find_padding_above(array: NDArray[Any]) -> float | None:
    """The value above which voxels are padding; None where there is no such padding, as nearly always.

    It comes of a fill below all others that was kept as a number without sign (−2000 as 63536), or of a program that
    fills with the largest number there is. Metal and what is saturated lie far above the rest, too; but then there
    are values in between.
    """
    values = _sample(array)
    if values.size == 0:
        return None
    highest = float(values.max())
    is_highest = values == highest
    rest = values[~is_highest]
    if highest < _LARGE or is_highest.mean() < 1e-3 or _drawn(rest) or not _at_faces(array, highest):
        return None
    low, high = np.percentile(rest, [1, 99])
    limit = 0.5 * (highest + float(high))
    between = np.count_nonzero(rest > limit) / np.count_nonzero(is_highest)
    return limit if highest > high + _FAR_ABOVE * float(high - low) and between < _BETWEEN else None


def _drawn(values: NDArray[np.float64]) -> bool:
    """Whether these are too few values to have been measured."""
    return len(np.unique(values[:: max(1, len(values) // 10_000)])) < _FEW_VALUES


def _at_faces(array: NDArray[Any], value: float) -> bool:
    """Whether ``value`` is found at the faces of an image: within it, it is something that was measured or drawn."""
    # Views: `take` would copy an image whose first index runs fastest.
    along = (np.moveaxis(array, axis, 0) for axis in range(array.ndim) if array.shape[axis] > 1)
    return any(bool((rows[end] == value).any()) for rows in along for end in (0, -1))


def robust_range(array: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """The 0.5th and 99.5th percentile of the measurable (and ``valid``) voxels, a little apart even if constant."""
    values = _sample(array, valid)
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
    return low, high if high > low else low + 1.0


def find_origin(array: NDArray[Any]) -> float:
    """What is subtracted before values become float32.

    0, unless they lie so far from 0 that float32 would round away what they differ by.
    """
    low, high = robust_range(array)
    return low if abs(low) > _FAR_FROM_0 * (high - low) else 0.0


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
    with np.errstate(over="ignore"):  # float16 knows no such number, and then any will do
        return np.asarray(np.abs(array) < array.dtype.type(LARGEST))


def _sample(array: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Of about a million voxels, evenly strided along every axis, the measurable (and ``valid``) ones, as float64."""
    step = max(1, int(np.ceil((array.size / _SAMPLE_VOXELS) ** (1 / array.ndim))))
    strided = (slice(None, None, step),) * array.ndim
    values = array[strided]
    usable = measurable(values) if valid is None else measurable(values) & valid[strided]
    if valid is not None and step > 1 and np.count_nonzero(usable) < _FEW_VOXELS:
        return _sample(array[valid])
    return np.asarray(values[usable].astype(np.float64))
