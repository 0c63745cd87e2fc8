"""Slices as a volume: sorted along their normal, evenly spaced or refused, and the grid that they lie on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.dicom_slices import Slice
from PWSegmentationLib.volume.grid import RAS_TO_LPS, Grid

# How far a slice may lie from its place in an even stack, as a fraction of the slice distance. Positions are often
# rounded to a tenth of a millimetre; a slice that is missing moves others by half a distance.
_EVENNESS = 0.2


def sorted_slices(slices: Sequence[Slice], series: object) -> list[Slice]:
    """Slices along their normal; an `InputError`, which calls them ``series``, if they are no even stack."""
    first = slices[0]
    if not all(s.matches(first) for s in slices):
        raise InputError(
            f"The DICOM series {series} mixes slices of different orientation or size (a localizer among them?): "
            "export the volume's slices alone."
        )
    place = np.array([s.position @ _normal(first) for s in slices])
    order = np.argsort(place, kind="stable")
    if len(slices) > 1:
        _check_even(place[order], series)
        _check_straight(np.array([slices[n].position for n in order]), series)
    return [slices[n] for n in order]


def stack_grid(slices: Sequence[Slice]) -> Grid:
    """The grid (RAS) of slices as `sorted_slices` returns them."""
    first, last = slices[0], slices[-1]
    affine = np.eye(4)
    affine[:3, :2] = first.axes
    if len(slices) > 1:
        # From first to last, so that rounded positions do not add up; along the true path, so that a tilt is kept.
        affine[:3, 2] = (last.position - first.position) / (len(slices) - 1)
    else:
        affine[:3, 2] = _normal(first) * first.thickness
    affine[:3, 3] = first.position
    return Grid((*first.size, len(slices)), RAS_TO_LPS @ affine)


def _normal(slice_: Slice) -> NDArray[np.float64]:
    normal = np.cross(slice_.axes[:, 0], slice_.axes[:, 1])
    length = float(np.linalg.norm(normal))
    # A pixel spacing of zero is for the grid to refuse.
    return normal / length if length > 0 else normal


def _check_even(place: NDArray[np.float64], series: object) -> None:
    gaps = np.diff(place)
    usual = float(np.median(gaps))
    if gaps.min() < 1e-3 * max(usual, 1.0):
        raise InputError(
            f"The DICOM series {series} has several slices at one position (time points, echoes or copies): "
            "export one of them alone."
        )
    if gaps.max() > 1.5 * usual:
        missing = int(np.round(gaps[gaps > 1.5 * usual] / usual - 1).sum())
        at = float(place[int(gaps.argmax())])
        raise InputError(
            f"The DICOM series {series} lacks about {missing} slice{'s' if missing != 1 else ''} "
            f"(the first wide gap is {gaps.max():.2f} mm after {at:.1f} mm, instead of {usual:.2f} mm): "
            "export it again, completely."
        )
    even = np.linspace(place[0], place[-1], len(place))
    if np.abs(place - even).max() > _EVENNESS * usual:
        raise InputError(
            f"The DICOM series {series} has unevenly spaced slices ({gaps.min():.2f} to {gaps.max():.2f} mm): "
            "resample it to an even spacing first."
        )


def _check_straight(positions: NDArray[np.float64], series: object) -> None:
    """Slices may be shifted against each other, as a tilted gantry does, but all by the same step."""
    line = np.linspace(positions[0], positions[-1], len(positions))
    aside = float(np.linalg.norm(positions - line, axis=1).max())
    if aside > _EVENNESS * float(np.linalg.norm(line[1] - line[0])):
        raise InputError(
            f"The DICOM series {series} has a slice that lies {aside:.1f} mm beside the line of the others: leave it "
            "out, or resample the series first."
        )
