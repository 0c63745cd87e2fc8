"""DICOM images of many frames in one file: every frame lies where it says, with the values it says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    NuclearMedicineImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.reading import read_segmentation
from PWSegmentationLib.export.writing import write_segmentation
from PWSegmentationLib.segments.segmentation import Segment, Segmentation
from PWSegmentationLib.volume.dicom import series_files
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.reading import read_header, read_volume

ARRAY = np.random.default_rng(0).integers(0, 1000, (5, 4, 6)).astype(np.int16)
AXIAL, CORONAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1)
STEP = np.array([0, 0, 3.0])


def item(**entries: Any) -> Sequence:
    data = pydicom.Dataset()
    for name, value in entries.items():
        setattr(data, name, value)
    return Sequence([data])


def header(kind: str, frames: int) -> pydicom.Dataset:
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = kind
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.FrameOfReferenceUID = generate_uid()
    data.SeriesNumber, data.Modality, data.PatientName, data.PatientID = 3, "CT", "Doe^Jane", "4711"
    data.Rows, data.Columns, data.NumberOfFrames = 4, 5, frames
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    return data


def write(data: pydicom.Dataset, path: Path, order: list[int]) -> None:
    path.parent.mkdir(exist_ok=True)
    data.PixelData = np.stack([ARRAY[:, :, k].T for k in order]).tobytes()
    data.save_as(path, enforce_file_format=True)


def write_enhanced(
    path: Path,
    order: list[int],
    *,
    orientation: tuple[int, ...] = AXIAL,
    step: np.ndarray = STEP,
    places: dict[int, float] | None = None,
    slopes: dict[int, float] | None = None,
    **entries: Any,
) -> Grid:
    """An enhanced CT whose frames are the slices ``order`` of ``ARRAY``; returns the grid that they lie on."""
    data = header(EnhancedCTImageStorage, len(order))
    for name, value in entries.items():
        setattr(data, name, value)
    origin = np.array([-10.0, -20.0, 5.0])
    data.SharedFunctionalGroupsSequence = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=list(orientation)),
        PixelMeasuresSequence=item(PixelSpacing=[2.0, 1.0], SliceThickness=5.0),
    )
    data.PerFrameFunctionalGroupsSequence = Sequence()
    for k in order:
        position = origin + step * (places or {}).get(k, k)
        (frame,) = item(PlanePositionSequence=item(ImagePositionPatient=position.tolist()))
        scaled = item(RescaleSlope=(slopes or {}).get(k, 1.0), RescaleIntercept=-10.0, RescaleType="HU")
        frame.PixelValueTransformationSequence = scaled
        data.PerFrameFunctionalGroupsSequence.append(frame)
    write(data, path, order)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = np.array(orientation[:3]) * 1.0, np.array(orientation[3:]) * 2.0
    lps[:3, 2], lps[:3, 3] = step, origin
    return Grid(ARRAY.shape, np.diag([-1, -1, 1, 1]) @ lps)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
@pytest.mark.parametrize(
    ("orientation", "step"),
    [(AXIAL, STEP), (CORONAL, np.array([0, 3.0, 0])), (AXIAL, np.array([0, 0.8, 3.0]))],
    ids=["axial", "coronal", "tilted gantry"],
)
def test_frames_lie_where_they_say(
    tmp_path: Path, order: list[int], orientation: tuple[int, ...], step: np.ndarray
) -> None:
    grid = write_enhanced(tmp_path / "image.dcm", order, orientation=orientation, step=step)
    for volume in (read_volume(tmp_path / "image.dcm"), read_volume(tmp_path)):
        np.testing.assert_array_equal(volume.array, ARRAY.astype(int) - 10)
        assert volume.grid.same_as(grid)
        assert read_header(tmp_path).dtype == volume.array.dtype


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [3, 0, 5, 1, 4, 2]])
def test_every_frame_has_its_own_scale(tmp_path: Path, order: list[int]) -> None:
    slopes = {k: 1.0 + 0.25 * k for k in order}
    write_enhanced(tmp_path / "image.dcm", order, slopes=slopes)
    volume = read_volume(tmp_path)
    np.testing.assert_allclose(volume.array, ARRAY * [slopes[k] for k in range(6)] - 10, atol=1e-3)
    assert read_header(tmp_path).dtype == volume.array.dtype == np.float32


@pytest.mark.parametrize(
    ("places", "said"),
    [({3: 4.0, 4: 5.0, 5: 6.0}, "lacks about 1 slice"), ({3: 0.0, 4: 1.0, 5: 2.0}, "several slices at one position")],
    ids=["gap", "two time points"],
)
def test_frames_that_are_no_volume_are_refused(tmp_path: Path, places: dict[int, float], said: str) -> None:
    write_enhanced(tmp_path / "image.dcm", list(range(6)), places=places)
    with pytest.raises(InputError, match=said) as caught:
        read_volume(tmp_path)
    assert "Doe" not in str(caught.value)


def test_one_of_several_images_of_a_series(tmp_path: Path) -> None:
    series = generate_uid()
    for name in ("first.dcm", "second.dcm"):
        write_enhanced(tmp_path / name, list(range(6)), SeriesInstanceUID=series)
    with pytest.raises(InputError, match="several images of many frames"):
        read_volume(tmp_path)
    assert read_volume(tmp_path / "second.dcm").grid.shape == ARRAY.shape
    write_enhanced(tmp_path / "part.dcm", [0, 1, 2], InConcatenationTotalNumber=2)
    with pytest.raises(InputError, match="join its parts"):
        read_volume(tmp_path / "part.dcm")


def test_frames_without_a_place_are_refused(tmp_path: Path) -> None:
    write(header(UltrasoundMultiFrameImageStorage, 6), tmp_path / "us.dcm", list(range(6)))
    with pytest.raises(InputError, match="does not say where"):
        read_volume(tmp_path / "us.dcm")


@pytest.mark.parametrize(("kind", "said"), [("RECON TOMO", None), ("DYNAMIC", "several slices at one position")])
def test_nuclear_medicine(tmp_path: Path, kind: str, said: str | None) -> None:
    data = header(NuclearMedicineImageStorage, 6)
    data.ImageType = ["ORIGINAL", "PRIMARY", kind, "EMISSION"]
    data.PixelSpacing, data.SpacingBetweenSlices = [2.0, 1.0], -3.0
    data.DetectorInformationSequence = item(ImagePositionPatient=[-10, -20, 20], ImageOrientationPatient=list(AXIAL))
    write(data, tmp_path / "nm.dcm", [5, 4, 3, 2, 1, 0])
    if said:
        with pytest.raises(InputError, match=said):
            read_volume(tmp_path)
        return
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.grid.to_world([[0, 0, 0], [0, 0, 5]]), [[10, 20, 5], [10, 20, 20]])


@pytest.mark.parametrize("order", [[5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
def test_segments_are_exported_onto_the_frames_they_were_drawn_on(tmp_path: Path, order: list[int]) -> None:
    write_enhanced(tmp_path / "ct" / "image.dcm", order, ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    grid = read_volume(tmp_path / "ct").grid
    mask = ARRAY > 500
    mask[:, :, 4] = False
    made = Segmentation(grid, (Segment("bright", 1, (1, 0, 0), Region.whole(mask.shape), mask),))
    source = series_files(tmp_path / "ct")
    (path,) = write_segmentation(made, tmp_path / "out.seg.dcm", source=source)
    (found,) = read_segmentation(path, grid).segments
    np.testing.assert_array_equal(found.over(Region.whole(mask.shape)), mask)
    shifted = Segmentation(Grid(grid.shape, grid.affine + np.eye(4, k=3) * 7), made.segments)
    with pytest.raises(InputError, match="not on the slices"):
        write_segmentation(shifted, tmp_path / "out.seg.dcm", source=source)


def test_without_pydicom_there_is_a_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_enhanced(tmp_path / "enhanced.dcm", [0, 1, 2])
    monkeypatch.setitem(sys.modules, "pydicom", None)

    with pytest.raises(InputError, match=r'need pydicom: pip install "PWSegmentation\[dicom\] @ git\+https'):
        read_volume(tmp_path / "enhanced.dcm")
