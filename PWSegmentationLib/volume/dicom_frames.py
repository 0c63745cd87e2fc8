"""DICOM images whose file holds many frames: where each of them lies, and how it is scaled (through pydicom).

GDCM takes frames to lie evenly in the order of the file and scales all as it does the first; neither has to be so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.extras import not_installed
from PWSegmentationLib.volume.dicom_slices import Slice, no_place, slice_axes

if TYPE_CHECKING:
    from pydicom import Dataset

_WITHOUT_PLACE = (AttributeError, KeyError, IndexError, TypeError, ValueError)


def read_frames(file: str) -> list[Slice]:
    """A slice for every frame, in the order of the file.

    Raises
    ------
    InputError
        If pydicom is missing, the file is a part of an image, or it does not say where its frames lie.
    """
    try:
        import pydicom
    except ImportError as error:
        raise not_installed("DICOM files of many frames need pydicom", "dicom") from error
    data = pydicom.dcmread(file, stop_before_pixels=True)
    if int(data.get("InConcatenationTotalNumber") or 1) > 1:
        raise InputError(f"The DICOM file {file} is a part of an image (a concatenation): join its parts first.")
    return frames_of(data, file)


def frames_of(data: Dataset, file: str) -> list[Slice]:
    """A slice for every frame of an image whose header is read; an `InputError` if they have no place."""
    try:
        slices = _from_groups(data, file) if "PerFrameFunctionalGroupsSequence" in data else _from_steps(data, file)
    except _WITHOUT_PLACE as error:
        raise no_place(file) from error
    if not slices or not all(np.isfinite(s.position).all() and np.isfinite(s.axes).all() for s in slices):
        raise no_place(file)
    return slices


def _from_groups(data: Dataset, file: str) -> list[Slice]:
    """Enhanced images say of each frame, or once for all, what there is to say."""
    shared = data.SharedFunctionalGroupsSequence[0] if data.get("SharedFunctionalGroupsSequence") else {}

    def group(frame: Any, name: str) -> Any:
        return (frame if name in frame else shared)[name][0]

    slices = []
    for number, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        measures = group(frame, "PixelMeasuresSequence")
        scaled = any("PixelValueTransformationSequence" in place for place in (frame, shared))
        slices.append(
            Slice(
                file,
                _array(group(frame, "PlanePositionSequence").ImagePositionPatient, 3),
                _axes(group(frame, "PlaneOrientationSequence"), measures),
                (int(data.Columns), int(data.Rows)),
                rescale=_rescale(group(frame, "PixelValueTransformationSequence") if scaled else data),
                thickness=_thickness(measures),
                frame=number,
            )
        )
    return slices


def _from_steps(data: Dataset, file: str) -> list[Slice]:
    """Older kinds (nuclear medicine, dose) say where the first frame lies, and how far the others lie behind it."""
    place = data if "ImagePositionPatient" in data else data.DetectorInformationSequence[0]
    axes = _axes(place, data)
    count = int(data.NumberOfFrames)
    if "GridFrameOffsetVector" in data:
        offsets = _array(data.GridFrameOffsetVector, count)
        steps = offsets - offsets[0]
    else:
        # Frames may also be time points, energies or projections.
        one = count == 1 or "RECON TOMO" in data.ImageType
        steps = np.arange(count) * float(data.SpacingBetweenSlices if one and count > 1 else 0.0)
    across = np.cross(axes[:, 0], axes[:, 1])
    normal = across / np.linalg.norm(across)
    first = _array(place.ImagePositionPatient, 3)
    size = (int(data.Columns), int(data.Rows))
    return [
        Slice(file, first + step * normal, axes, size, _rescale(data), _thickness(data), number)
        for number, step in enumerate(steps)
    ]


def _axes(place: Dataset, measures: Dataset) -> NDArray[np.float64]:
    orientation = _array(place.ImageOrientationPatient, 6).reshape(2, 3)
    return slice_axes(orientation, _array(measures.PixelSpacing, 2))


def _array(values: Any, count: int) -> NDArray[np.float64]:
    return np.asarray(values, dtype=float).reshape(count)


def _rescale(data: Dataset) -> tuple[float, float]:
    slope, intercept = data.get("RescaleSlope"), data.get("RescaleIntercept")
    return (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))


def _thickness(measures: Dataset) -> float:
    return abs(float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0))
