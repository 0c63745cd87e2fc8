"""DICOM segmentations (binary, one frame per segment and slice), through highdicom.

Where the image came from a DICOM series, the object belongs to the same study and patient and says of every frame
which slice of the series it is about. Where it did not, it belongs to a new study of a patient without a name, and its
frames say where they lie.

DICOM numbers segments 1, 2, ... without gaps, so that a segment's value in the label table is kept as its tracking
ID, "label 7".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib import __version__
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.placing import moved
from PWSegmentationLib.extras import no_highdicom
from PWSegmentationLib.files import in_short
from PWSegmentationLib.segments.colors import color
from PWSegmentationLib.segments.segmentation import Segment, Segmentation
from PWSegmentationLib.segments.terminology import UNSPECIFIED, code_parts, terminology_text
from PWSegmentationLib.volume.dicom_frames import frames_of
from PWSegmentationLib.volume.dicom_slices import slice_axes
from PWSegmentationLib.volume.grid import RAS_TO_LPS, Grid, Region

if TYPE_CHECKING:
    from pydicom import Dataset

_TRACKING = re.compile(r"label (\d+)")
_LONGEST_NAME = 64
# A slice may lie this far from where the grid has it, as a share of the slice distance.
_EVENNESS = 0.2
# Type 2 attributes that some archives leave out, though they may be empty at most.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)


def write_dicom_seg(segmentation: Segmentation, path: Path, source: Sequence[Path] = ()) -> None:
    """Write a DICOM SEG; the file is made or overwritten in place.

    Parameters
    ----------
    source
        The files of the series that the image came from, in the order of its slices (`volume.dicom.series_files`).
        The object carries the patient's and the study's identity of that series, as DICOM demands.

    Raises
    ------
    InputError
        If highdicom is not installed, there is no segment, a name does not fit, the grid is not the series', or the
        series lacks what the standard demands.
    """
    try:
        import highdicom
        from pydicom import dcmread
    except ImportError as error:
        raise no_highdicom() from error
    _check(segmentation)
    if source:
        images: list[Dataset] = [dcmread(file, stop_before_pixels=True) for file in source]
        order = _check_series(images, segmentation.grid)
    else:
        images = _slices_without_series(segmentation.grid)
        order = list(range(len(images)))
    for image in images:
        image.decode()
        for attribute in _MAY_BE_EMPTY:
            if attribute not in image or not _is_known(attribute, image.get(attribute)):
                setattr(image, attribute, "")
        if not image.get("SliceThickness"):
            image.SliceThickness = _decimal(segmentation.grid.spacing[2])
    try:
        made = highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=_frames(segmentation)[order],
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(s, n) for n, s in enumerate(segmentation.segments, start=1)],
            series_instance_uid=highdicom.UID(),
            series_number=_series_number(images[0]),
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="PWSegmentation",
            manufacturer_model_name="PWSegmentation",
            software_versions=__version__,
            device_serial_number="0",
            content_description="Segmentation",
            content_label="SEGMENTATION",
            series_description="PWSegmentation",
            omit_empty_frames=any(s.voxels for s in segmentation.segments),
        )
    except (ValueError, AttributeError) as error:
        # What highdicom says of headers in which something is missing that the standard demands.
        raise InputError(
            f"The DICOM series cannot be referred to ({in_short(error)}): choose another format."
        ) from error
    # Of any language. highdicom takes it as an argument since 0.28; Slicer 5.12 brings 0.27.
    made.SpecificCharacterSet = "ISO_IR 192"
    if not source:
        _forget_series(made)
    _say_distance(made, segmentation.grid)
    made.save_as(path)


def read_dicom_seg(path: Path, grid: Grid | None = None) -> Segmentation:
    """Read a DICOM SEG onto ``grid``, its image's; without one, onto the smallest grid that holds its frames.

    Of a fractional one, a segment is where it has a half at least.

    Raises
    ------
    InputError
        If highdicom is not installed, the file is no segmentation, or its frames are not on the grid.
    """
    try:
        import highdicom
        from pydicom import dcmread
    except ImportError as error:
        raise no_highdicom() from error
    try:
        if dcmread(path, specific_tags=["Modality"]).get("Modality") == "RTSTRUCT":
            raise InputError(f"{path} holds contours (RTSTRUCT): make a labelmap of them first, in Slicer for example.")
        found = highdicom.seg.segread(path)
        own, places, numbers = _stack(found, grid)
        # All at once: read one by one, frames that do not end with a byte are an error.
        frames = found.pixel_array.reshape(-1, found.Rows, found.Columns).transpose(0, 2, 1)
        fractional = found.SegmentationType == "FRACTIONAL"
        least = 0.5 * int(found.MaximumFractionalValue) if fractional else 1
        segments = []
        # What is called 0 is the background of a labelmap.
        for index, item in enumerate(i for i in found.SegmentSequence if int(i.SegmentNumber)):
            mask = np.zeros(own.shape, bool)
            of_segment = int(item.SegmentNumber)
            for frame, place, number in zip(frames, places, numbers, strict=True):
                if number in (None, of_segment):
                    mask[:, :, place] = frame == of_segment if number is None else frame >= least
            segments.append(_segment(item, index, mask, own, grid))
    except InputError:
        raise
    except Exception as error:  # pydicom and highdicom raise whatever they stumble over
        raise InputError(f"Cannot read {path}: it is no DICOM segmentation on even slices.") from error
    return Segmentation(own if grid is None else grid, tuple(segments))


def _stack(found: Any, image: Grid | None) -> tuple[Grid, list[int], list[int | None]]:
    """The grid of the frames' places, and of every frame its slice there and its segment's number.

    None where a frame is a labelmap, whose values are the numbers of segments.
    """
    shared = found.SharedFunctionalGroupsSequence[0]

    def group(frame: Any, name: str) -> Any:
        """What all frames have in common stands in one place, or in each of them."""
        return (frame if name in frame else shared)[name][0]

    frames = found.PerFrameFunctionalGroupsSequence
    positions = np.array([group(f, "PlanePositionSequence").ImagePositionPatient for f in frames], float)
    numbers: list[int | None] = [None] * len(frames)
    if found.SegmentationType != "LABELMAP":
        numbers = [int(group(f, "SegmentIdentificationSequence").ReferencedSegmentNumber) for f in frames]
    orientation = group(frames[0], "PlaneOrientationSequence").ImageOrientationPatient
    directions = np.array(orientation, float).reshape(2, 3)
    measures = group(frames[0], "PixelMeasuresSequence")
    normal = np.cross(directions[0], directions[1])
    along = positions @ normal
    step = _step(along, normal, measures, image)
    places = np.rint((along - along.min()) / (step @ normal)).astype(int)
    affine = np.eye(4)
    # Pixel spacing is (between rows, between columns); i runs along a row.
    affine[:3, 0] = directions[0] * float(measures.PixelSpacing[1])
    affine[:3, 1] = directions[1] * float(measures.PixelSpacing[0])
    first, last = int(along.argmin()), int(along.argmax())
    affine[:3, 2] = (positions[last] - positions[first]) / places.max() if places.max() else step
    affine[:3, 3] = positions[first]
    shape = (int(found.Columns), int(found.Rows), int(places.max()) + 1)
    return Grid(shape, RAS_TO_LPS @ affine), places.tolist(), numbers


def _step(
    along: NDArray[np.float64], normal: NDArray[np.float64], measures: Any, image: Grid | None
) -> NDArray[np.float64]:
    """From one slice to the next, mm LPS; frames lie at ``along`` the normal, and empty slices have none.

    A ValueError where they lie on no even slices. (highdicom's own geometry knows no tilted gantry, and no image.)
    """
    # The thickness of slices is no distance between them; it is what is left.
    distinct = np.unique(np.round(along, 3))
    steps = [normal * float(np.diff(distinct).min() if len(distinct) > 1 else measures.SliceThickness)]
    if image is not None:
        axes = (RAS_TO_LPS @ image.affine)[:3, :3]
        across = axes[:, np.abs(normal @ axes).argmax()]
        steps.insert(0, across * np.sign(across @ normal))
    if measures.get("SpacingBetweenSlices"):
        said = normal * abs(float(measures.SpacingBetweenSlices))
        # Those of the image may be tilted, which a single frame does not show.
        same = image is not None and np.isclose(steps[0] @ normal, said @ normal, rtol=0.01)
        steps.insert(0, steps[0] if same else said)
    for step in steps:
        index = (along - along.min()) / (step @ normal)
        # Both this frame and the first may be out of place.
        if np.abs(index - np.rint(index)).max() <= 2 * _EVENNESS:
            return np.asarray(step)
    raise ValueError("The frames lie on no even slices.")


def _check(segmentation: Segmentation) -> None:
    if not segmentation.segments:
        raise InputError("A DICOM segmentation needs one segment at least: segment something before exporting it.")
    check_names(segmentation.names)
    if math.prod(segmentation.grid.shape[:2]) < 8:
        # A frame is packed into bytes of eight voxels; readers do not get smaller ones back.
        raise InputError("DICOM cannot hold slices of fewer than 8 voxels: use another format.")
    axes = segmentation.grid.affine[:3, :2] / segmentation.grid.spacing[:2]
    if abs(float(axes[:, 0] @ axes[:, 1])) > 1e-4:
        raise InputError("DICOM cannot hold slices whose rows and columns are not at right angles: resample the image.")


def check_names(names: Sequence[str]) -> None:
    """Raise `InputError` for names that DICOM cannot hold."""
    for name in names:
        if len(name) > _LONGEST_NAME or "\\" in name or not name.strip():
            raise InputError(f"DICOM cannot hold the name '{name}': use 1 to {_LONGEST_NAME} characters, no backslash.")
    if len({name.strip() for name in names}) < len(names):
        raise InputError("DICOM cannot tell names apart by the white space around them: rename a segment.")


def _check_series(images: Sequence[Dataset], grid: Grid) -> list[int]:
    """Which slice of ``grid`` every file, or every frame of the one file, is; an `InputError` unless each is one."""
    first = images[0]
    if len(images) == 1 and "NumberOfFrames" in first:
        frames = frames_of(first, str(first.filename))
        there, axes = np.array([frame.position for frame in frames]), frames[0].axes
    else:
        there = np.array([image.ImagePositionPatient for image in images], float)
        axes = slice_axes(np.array(first.ImageOrientationPatient, float).reshape(2, 3), first.PixelSpacing)
    affine = RAS_TO_LPS @ grid.affine
    slices = np.rint(grid.to_index(there * np.diag(RAS_TO_LPS)[:3])[:, 2]).astype(int)
    fits = (int(first.Columns), int(first.Rows), len(there)) == grid.shape
    fits = fits and np.allclose(axes, affine[:3, :2], atol=1e-3)
    fits = fits and sorted(slices.tolist()) == list(range(len(there)))
    if fits:
        here = affine[:3, 3] + slices[:, None] * affine[:3, 2]
        fits = bool(np.abs(there - here).max() <= _EVENNESS * grid.spacing[2])
    if not fits:
        raise InputError(
            "The segments are not on the slices of that DICOM series: name the series that was segmented, or leave it "
            "out."
        )
    return list(slices.tolist())


def _is_known(attribute: str, value: Any) -> bool:
    """Whether it is a date, a time or a sex as DICOM has them; programs that remove names write others."""
    from pydicom.valuerep import DA, TM

    if attribute == "PatientSex":
        return value in ("", None, "M", "F", "O")
    kind = DA if attribute.endswith("Date") else TM if attribute.endswith("Time") else str
    try:
        kind(value or "")
    except (TypeError, ValueError):
        return False
    return True


def _frames(segmentation: Segmentation) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """As highdicom takes them: ``[k, j, i]`` with segment numbers, or ``[k, j, i, segment]`` where they overlap."""
    numbered = tuple(
        Segment(s.name, n, s.color, s.region, s.mask) for n, s in enumerate(segmentation.segments, start=1)
    )
    layers, _ = Segmentation(segmentation.grid, numbered).layers()
    if len(layers) == 1:
        return np.ascontiguousarray(layers[0].T)
    frames = np.zeros((*segmentation.grid.shape[::-1], len(numbered)), np.uint8)
    for index, segment in enumerate(numbered):
        i, j, k = segment.region.slices
        frames[k, j, i, index] = segment.mask.T
    return frames


def _description(segment: Segment, number: int) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    category, kind, modifier = (_code(part) for part in code_parts(segment.terminology or UNSPECIFIED.entry()))
    made = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="PWSegmentation", version=__version__, family=codes.cid7162.ArtificialIntelligence
        ),
        tracking_uid=highdicom.UID(),
        tracking_id=f"label {segment.value}",
        display_color=highdicom.color.CIELabColor.from_rgb(*segment.rgb),
    )
    if modifier is not None:
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return made


def _code(part: tuple[str, str, str] | None) -> Any:
    from highdicom.sr import CodedConcept

    return None if part is None else CodedConcept(value=part[1], scheme_designator=part[0], meaning=part[2])


def _segment(item: Any, index: int, mask: NDArray[np.bool_], own: Grid, grid: Grid | None) -> Segment:
    import highdicom

    tracking = _TRACKING.fullmatch(str(item.get("TrackingID", "")))
    shown = color(index)
    if "RecommendedDisplayCIELabValue" in item:
        lab = highdicom.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue)
        red, green, blue = lab.to_rgb()
        shown = (red / 255, green / 255, blue / 255)
    kind = item.SegmentedPropertyTypeCodeSequence[0]
    codes = [item.SegmentedPropertyCategoryCodeSequence[0], kind]
    codes += list(kind.get("SegmentedPropertyTypeModifierCodeSequence", []))[:1]
    terminology = terminology_text(*((c.CodingSchemeDesignator, c.CodeValue, c.CodeMeaning) for c in codes))
    value = int(tracking[1]) if tracking else int(item.SegmentNumber)
    made = Segment(str(item.SegmentLabel), value, shown, terminology=terminology)
    region = Region.around(mask)
    if region is None:
        return made
    part = mask[region.slices]
    if grid is not None:
        place = moved(part, own.crop(region), grid, _EVENNESS)
        if place is None:
            raise InputError(
                f"Segment '{made.name}' does not lie on the voxels of the image: was it drawn on another one?"
            )
        region, part = place
    return replace(made, region=region, mask=part)


def _slices_without_series(grid: Grid) -> list[Dataset]:
    """Headers of slices on ``grid``, of nobody, so that highdicom has something to measure by."""
    from pydicom import Dataset
    from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

    affine = RAS_TO_LPS @ grid.affine
    directions = affine[:3, :2] / grid.spacing[:2]
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    slices = []
    for k in range(grid.shape[2]):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.Modality, image.SeriesNumber, image.InstanceNumber = "OT", 1, k + 1
        image.SpecificCharacterSet = "ISO_IR 192"
        image.Rows, image.Columns = grid.shape[1], grid.shape[0]
        image.PixelSpacing = [_decimal(grid.spacing[1]), _decimal(grid.spacing[0])]
        image.SliceThickness = _decimal(grid.spacing[2])
        image.ImageOrientationPatient = [_decimal(v) for v in directions.T.ravel()]
        image.ImagePositionPatient = [_decimal(v) for v in affine[:3, 3] + k * affine[:3, 2]]
        slices.append(image)
    return slices


def _decimal(value: float) -> str:
    """A number in the 16 characters that DICOM has for it."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))


def _series_number(image: Dataset) -> int:
    return int(image.get("SeriesNumber") or 0) + 1000


def _say_distance(made: Dataset, grid: Grid) -> None:
    """Say how far slices are apart, which highdicom leaves out where a gantry was tilted: empty ones have no frame."""
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if "SpacingBetweenSlices" not in measures:
        measures.SpacingBetweenSlices = _decimal(grid.voxel_volume / (grid.spacing[0] * grid.spacing[1]))


def _forget_series(made: Dataset) -> None:
    """Take out references to slices that exist nowhere."""
    for name in ("ReferencedSeriesSequence", "SourceImageSequence"):
        if name in made:
            delattr(made, name)
    for item in made.PerFrameFunctionalGroupsSequence:
        if "DerivationImageSequence" in item:
            del item.DerivationImageSequence
