"""Segments leave the program and come back the same: voxels, names, values and colours, in every format."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.reading import read_segmentation
from PWSegmentationLib.export.writing import write_segmentation
from PWSegmentationLib.segments.segmentation import Segment, Segmentation
from PWSegmentationLib.segments.terminology import terminology_entry
from PWSegmentationLib.volume.grid import Grid, Region
from Testing.Library.grids import GRIDS, SHAPE

NAMES = ("left kidney", "Milz (größer)", "脾臓", "الكبد", "kidney_right", 'a "b", c=1; #x', "селезёнка ё")
FORMATS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".seg.dcm")


def segments(grid: Grid, count: int, *, overlap: bool = False) -> Segmentation:
    """Segments with gaps between their values, of any colour; the second is empty."""
    rng = np.random.default_rng(count)
    taken = np.zeros(SHAPE, bool)
    made = []
    for n in range(count):
        name = NAMES[n] if n < len(NAMES) else f"segment {n}"
        mask = rng.random(SHAPE) < (0.4 if overlap else 1.5 / count)
        if not overlap:
            mask &= ~taken
            taken |= mask
        region = Region.around(mask) if n != 1 else None
        where = () if region is None else (region, mask[region.slices])
        color = tuple(rng.integers(0, 256, 3) / 255)
        made.append(Segment(name, 3 + 2 * n, color, *where, terminology=terminology_entry(name)))
    return Segmentation(grid, tuple(made))


def assert_same(found: Segmentation, expected: Segmentation) -> None:
    assert found.grid.same_as(expected.grid)
    assert found.values == expected.values
    assert [s.rgb for s in found.segments] == [s.rgb for s in expected.segments]
    whole = Region.whole(SHAPE)
    for a, b in zip(found.segments, expected.segments, strict=True):
        np.testing.assert_array_equal(a.over(whole), b.over(whole))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("ending", FORMATS)
def test_round_trip(tmp_path: Path, ending: str, grid: Grid) -> None:
    made = segments(grid, 7)
    path = write_segmentation(made, tmp_path / f"out{ending}")[0]
    found = read_segmentation(path, grid)
    assert_same(found, made)
    assert [s.terminology for s in found.segments] == [s.terminology for s in made.segments]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("count", [0, 1, 300])
def test_any_number_of_segments(tmp_path: Path, ending: str, count: int) -> None:
    made = segments(GRIDS["oblique"], count)
    if count == 0 and ending == ".seg.dcm":
        with pytest.raises(InputError, match="one segment at least"):
            write_segmentation(made, tmp_path / f"out{ending}")
        assert list(tmp_path.iterdir()) == []
        return
    path = write_segmentation(made, tmp_path / f"out{ending}")[0]
    assert_same(read_segmentation(path, made.grid), made)


#: Names with white space of every kind, and characters that headers and tables give a meaning.
SPACED = (
    "a b",
    "a  b",
    " a b",
    "a b ",
    "a\tb",
    "a\nb",
    "a\\nb",
    "a\u00a0b",
    "a\u2028b",
    "\x0b",
    "a_b",
    "a:=b|c:d",
    "b\\",
)


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nii.gz", ".nrrd"])
def test_names_come_back_with_their_white_space(tmp_path: Path, ending: str) -> None:
    made = segments(GRIDS["straight"], len(SPACED))
    made = Segmentation(made.grid, tuple(replace(s, name=n) for s, n in zip(made.segments, SPACED, strict=True)))
    path = write_segmentation(made, tmp_path / f"out{ending}")[0]
    assert_same(read_segmentation(path), made)


@pytest.mark.parametrize("name", ["a\rb", "a\0b", "a\ud800b"])
def test_a_name_that_no_file_can_hold_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="that no file can hold: rename"):
        Segmentation(GRIDS["straight"], (Segment(name, 1, (1, 0, 0)),))


def test_dicom_cannot_tell_white_space_around_names(tmp_path: Path) -> None:
    made = segments(GRIDS["straight"], 2)
    made = Segmentation(made.grid, tuple(replace(s, name=n) for s, n in zip(made.segments, ("a", " a"), strict=True)))
    with pytest.raises(InputError, match="white space around"):
        write_segmentation(made, tmp_path / "out.seg.dcm")


@pytest.mark.parametrize("ending", [".seg.nrrd", ".seg.dcm"])
def test_overlaps_are_kept(tmp_path: Path, ending: str) -> None:
    made = segments(GRIDS["left-handed"], 5, overlap=True)
    path = write_segmentation(made, tmp_path / f"out{ending}")[0]
    assert_same(read_segmentation(path, made.grid), made)


def test_priority_decides_in_a_flat_labelmap(tmp_path: Path) -> None:
    made = segments(GRIDS["straight"], 4, overlap=True)
    with pytest.raises(InputError, match="has priority"):
        write_segmentation(made, tmp_path / "out.nii.gz")
    assert list(tmp_path.iterdir()) == []
    path = write_segmentation(made, tmp_path / "out.nii.gz", priority=["الكبد"])[0]
    found = read_segmentation(path)
    whole = Region.whole(SHAPE)
    first, second = made["الكبد"].over(whole), made["left kidney"].over(whole)
    np.testing.assert_array_equal(found["الكبد"].over(whole), first)
    np.testing.assert_array_equal(found["left kidney"].over(whole), second & ~first)


def test_a_table_stays_right_for_every_labelmap_of_its_name(tmp_path: Path) -> None:
    grid = GRIDS["straight"]
    first, second = segments(grid, 3), segments(grid, 4)
    write_segmentation(first, tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"a\.labels\.json would not fit .*a\.nii\.gz any more"):
        write_segmentation(second, tmp_path / "a.nrrd")
    assert_same(read_segmentation(tmp_path / "a.nii.gz"), first)
    assert not (tmp_path / "a.nrrd").exists()
    # The same table is no trouble, nor is a new one for the only labelmap of a name.
    write_segmentation(first, tmp_path / "a.nrrd")
    (tmp_path / "a.nii.gz").unlink()
    write_segmentation(second, tmp_path / "a.nrrd")
    assert_same(read_segmentation(tmp_path / "a.nrrd"), second)


def test_an_image_of_the_same_name_has_no_table(tmp_path: Path) -> None:
    from PWSegmentationLib.volume.writing import write_image

    grid = GRIDS["straight"]
    write_image(np.random.default_rng(0).normal(0, 99, SHAPE).astype(np.int16), grid, tmp_path / "a.nii.gz")
    for count in (3, 4):
        write_segmentation(segments(grid, count), tmp_path / "a.nrrd")
        assert_same(read_segmentation(tmp_path / "a.nrrd"), segments(grid, count))


def test_a_table_that_names_no_labelmap_is_in_nobodys_way(tmp_path: Path) -> None:
    made = segments(GRIDS["straight"], 3)
    write_segmentation(made, tmp_path / "a.nii.gz")
    for text in ('{"kidneys": [1, 2]}', "{", ""):
        (tmp_path / "a.labels.json").write_text(text, encoding="utf-8")
        write_segmentation(made, tmp_path / "a.nrrd")
        assert_same(read_segmentation(tmp_path / "a.nrrd"), made)


def test_names_of_a_folder_stay_those_of_its_labelmaps(tmp_path: Path) -> None:
    grid = GRIDS["straight"]
    first = segments(grid, 3)
    write_segmentation(first, tmp_path / "a.nii.gz")
    (tmp_path / "a.labels.json").rename(tmp_path / "labels.json")
    with pytest.raises(InputError, match="would not fit"):
        write_segmentation(segments(grid, 4), tmp_path / "a.nrrd")
    assert read_segmentation(tmp_path / "a.nii.gz").values == first.values


# ---- damaged files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("ending", [".seg.nrrd", ".nrrd"])
def test_a_part_of_the_image_is_put_onto_it(tmp_path: Path, ending: str, grid: Grid) -> None:
    """Slicer may keep the part in which segments are, with the last axis turned round."""
    part = Region((2, 1, 3), (8, 6, 6))
    turn = np.diag([1.0, 1.0, -1.0, 1.0])
    turn[2, 3] = part.shape[2] - 1
    cut = Grid(part.shape, grid.crop(part).affine @ turn)
    mask = np.random.default_rng(5).random(part.shape) < 0.5
    made = Segmentation(cut, (Segment("a", 1, (1, 0, 0), Region.whole(cut.shape), mask), Segment("b", 2, (0, 1, 0))))
    path = write_segmentation(made, tmp_path / f"part{ending}")[0]
    found = read_segmentation(path, grid)
    assert found.grid.same_as(grid)
    expected = np.zeros(SHAPE, bool)
    expected[part.slices] = mask[:, :, ::-1]
    np.testing.assert_array_equal(found["a"].over(Region.whole(SHAPE)), expected)
    assert found["b"].voxels == 0
    # What reaches out of the image was drawn on another one, and stays what it is.
    beyond = grid.crop(Region((4, 3, 2), SHAPE))
    assert read_segmentation(path, beyond).grid.same_as(cut)


def test_a_gap_between_the_numbers_of_segments(tmp_path: Path) -> None:
    made = segments(GRIDS["straight"], 3)
    path = write_segmentation(made, tmp_path / "a.seg.nrrd")[0]
    head, end, voxels = path.read_bytes().partition(b"\n\n")
    kept = [line for line in head.split(b"\n") if not line.startswith(b"Segment1_")]
    path.write_bytes(b"\n".join(kept) + end + voxels)
    assert read_segmentation(path).values == {n: v for n, v in made.values.items() if n != made.names[1]}


def test_a_segmentation_of_an_older_slicer(tmp_path: Path) -> None:
    """Before 4.11 every segment had a layer of its own, where its voxels are 1, and the header said neither."""
    made = segments(GRIDS["oblique"], 5, overlap=True)
    path = write_segmentation(made, tmp_path / "a.seg.nrrd")[0]
    head = path.read_bytes().partition(b"\n\n")[0].decode()
    head = re.sub(r"sizes: \d+", "sizes: 5", head.replace("encoding: gzip", "encoding: raw"))
    kept = [line for line in head.split("\n") if "_Layer:=" not in line and "_LabelValue:=" not in line]
    whole = Region.whole(SHAPE)
    layers = np.stack([s.over(whole) for s in made.segments]).astype(np.uint8)
    path.write_bytes("\n".join(kept).encode() + b"\n\n" + layers.tobytes(order="F"))
    numbered = (replace(s, value=n) for n, s in enumerate(made.segments, start=1))
    assert_same(read_segmentation(path), Segmentation(made.grid, tuple(numbered)))


def test_what_other_writers_leave_out_of_a_segmentation_is_no_matter(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 4, SHAPE)
    made = Segmentation.of_labels(labels, GRIDS["oblique"], {"a": 1, "b": 2, "c": 3})
    path = write_segmentation(made, tmp_path / "a.seg.nrrd")[0]
    head, end, voxels = path.read_bytes().partition(b"\n\n")
    fields = (b"_Layer:=", b"_LabelValue:=", b"_Color:=", b"_Tags:=", b"_Extent:=", b"_NameAutoGenerated:=")
    kept = [line for line in head.split(b"\n") if not any(field in line for field in fields)]
    path.write_bytes(b"\n".join(kept) + end + voxels)
    assert_same(read_segmentation(path), made)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("LabelValue:=x", "Segment0_LabelValue is 'x', which is no whole number"),
        ("Layer:=7", "Segment0_Layer is 7, and there are 1"),
        ("Layer:=-1", "Segment0_Layer is -1"),
        ("Layer:=", "Segment0_Layer is ''"),
        ("Color:=red 0 1", "Segment0_Color is 'red 0 1', which are no numbers"),
        ("Color:=nan 0 1", "not from 0 to 1"),
        ("Color:=300 0 1", "not from 0 to 1"),
    ],
)
def test_a_damaged_segmentation_is_one_sentence(tmp_path: Path, field: str, said: str) -> None:
    path = write_segmentation(segments(GRIDS["straight"], 3), tmp_path / "a.seg.nrrd")[0]
    head, end, voxels = path.read_bytes().partition(b"\n\n")
    key = f"Segment0_{field.partition(':=')[0]}:=".encode()
    lines = [f"Segment0_{field}".encode() if line.startswith(key) else line for line in head.split(b"\n")]
    path.write_bytes(b"\n".join(lines) + end + voxels)
    with pytest.raises(InputError) as caught:
        read_segmentation(path)
    assert said in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b"3 left 0.5 0 0 255", "gives the value 3 the colour '0.5 0 0'"),
        (b"3 left red 0 0 255", "whole numbers from 0 to 255"),
        (b"3 left -5 300 0 255", "whole numbers from 0 to 255"),
        (b"3 l\xfcft 1 2 3 255", "no colour table in UTF-8"),
    ],
)
def test_a_damaged_colour_table_is_one_sentence(tmp_path: Path, row: bytes, said: str) -> None:
    path = write_segmentation(segments(GRIDS["straight"], 3), tmp_path / "a.nrrd")[0]
    (tmp_path / "a.ctbl").write_bytes(row + b"\n")
    with pytest.raises(InputError, match=said):
        read_segmentation(path)


@pytest.mark.parametrize(
    ("dtype", "value", "said"),
    [
        (np.int32, 2_000_000_000, "has the value 2000000000: choose one from 1 to 65535"),
        (np.uint32, 4_000_000_000, "it holds the value 4000000000"),
        (np.int64, -5_000_000_000, "it holds the value -5000000000"),
        (np.float32, 1e20, r"it holds the value 1\.0000"),
        (np.int16, -5, "has the value -5"),
    ],
)
def test_a_labelmap_of_huge_values_costs_no_memory(
    tmp_path: Path, dtype: type[np.generic], value: float, said: str
) -> None:
    import tracemalloc

    import nibabel

    labels = np.zeros((9, 9, 9), dtype)
    labels[3, 4, 5] = value
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4), dtype=labels.dtype), tmp_path / "a.nii")
    tracemalloc.start()
    with pytest.raises(InputError, match=said):
        read_segmentation(tmp_path / "a.nii")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
    # A table that names it makes no difference.
    if value > 0:
        (tmp_path / "a.labels.json").write_text(f'{{"big": {value:.0f}}}', encoding="utf-8")
        with pytest.raises(InputError, match=said):
            read_segmentation(tmp_path / "a.nii")


def test_a_label_table_that_is_not_utf_8_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_segmentation(segments(GRIDS["straight"], 3), tmp_path / "a.seg.nrrd")[0]
    (tmp_path / "table.ctbl").write_bytes("1 big 1 2 3 255".encode("utf-16"))
    words = ("export", path, "-o", tmp_path / "b.nrrd", "--labels", tmp_path / "table.ctbl")
    assert "no colour table in UTF-8" in run(capsys, *words, code=2)


# ---- DICOM ------------------------------------------------------------------------------------------------------

PATIENT = "Mustermann^Erika"


def write_series(folder: Path, grid: Grid) -> None:
    """A CT series on ``grid``."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(grid.shape[2]):
        data = pydicom.Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = series, study, frame
        data.SpecificCharacterSet = "ISO_IR 100"
        data.SeriesNumber, data.Modality, data.PatientName, data.PatientID = 3, "CT", PATIENT, "4711"
        data.StudyDate, data.StudyTime, data.InstanceNumber = "20260101", "120000", k + 1
        data.ImagePositionPatient = [f"{v:.9g}" for v in affine[:3, 3] + k * affine[:3, 2]]
        data.ImageOrientationPatient = [f"{v:.9g}" for v in (affine[:3, :2] / grid.spacing[:2]).T.ravel()]
        data.PixelSpacing = [grid.spacing[1], grid.spacing[0]]
        data.SliceThickness = 3.0
        data.Rows, data.Columns = grid.shape[1], grid.shape[0]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 0
        data.RescaleSlope, data.RescaleIntercept = 1, -1000
        data.PixelData = np.full(grid.shape[1::-1], k, np.uint16).tobytes()
        data.save_as(folder / f"im{99 - k}.dcm", enforce_file_format=True)


def by_dcmqi(path: Path, folder: Path) -> list[tuple[dict, np.ndarray, Grid]]:
    """What dcmqi, which shares no code with what wrote the file, finds in it: meta data, mask and grid by segment."""
    import SimpleITK

    from PWSegmentationLib.volume.reading import itk_affine

    folder.mkdir()
    tool = Path(sys.executable).with_name("segimage2itkimage")
    words = [tool, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nrrd", "-p", "s"]
    subprocess.run(words, check=True, capture_output=True)
    meta = json.loads((folder / "s-meta.json").read_text(encoding="utf-8"))
    found = []
    for (item,) in meta["segmentAttributes"]:
        image = SimpleITK.ReadImage(folder / f"s-{item['labelID']}.nrrd")
        grid = Grid(image.GetSize(), itk_affine(image.GetSpacing(), image.GetDirection(), image.GetOrigin()))
        found.append((item, SimpleITK.GetArrayFromImage(image).T > 0, grid))
    return found


def places_of(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """World positions of the voxels of a mask, in an order of their own."""
    places = np.round(grid.to_world(np.argwhere(mask)), 2) + 0.0
    return places[np.lexsort(places.T)]


@pytest.mark.parametrize("overlap", [False, True], ids=["apart", "overlap"])
@pytest.mark.parametrize("name", ["straight", "oblique", "left-handed", "permuted"])
def test_another_program_reads_the_dicom_segmentation(tmp_path: Path, name: str, overlap: bool) -> None:
    from PWSegmentationLib.volume.dicom import series_files
    from PWSegmentationLib.volume.reading import read_volume

    write_series(tmp_path / "ct", GRIDS[name])
    grid = read_volume(tmp_path / "ct").grid
    made = segments(grid, 5, overlap=overlap)
    (path,) = write_segmentation(made, tmp_path / "out.seg.dcm", source=series_files(tmp_path / "ct"))
    full = made.segments
    found = by_dcmqi(path, tmp_path / "dcmqi")
    assert [item["SegmentLabel"] for item, *_ in found] == [s.name for s in full]
    colors = [item["recommendedDisplayRGBValue"] for item, *_ in found]
    np.testing.assert_allclose(colors, [s.rgb for s in full], atol=1)
    assert found[0][0]["SegmentedPropertyTypeCodeSequence"]["CodeMeaning"] == "Kidney"
    assert found[0][0]["SegmentedPropertyTypeModifierCodeSequence"]["CodeMeaning"] == "Left"
    for (_, mask, where), segment in zip(found, full, strict=True):
        expected = places_of(segment.over(Region.whole(SHAPE)), grid)
        np.testing.assert_allclose(places_of(mask, where), expected, atol=0.02)
    assert_same(read_segmentation(path, grid), made)


def two_halves(grid: Grid) -> Segmentation:
    """Two segments that share all voxels between them, at random."""
    mask = np.random.default_rng(3).random(grid.shape) < 0.4
    halves = (("one", mask), ("other", ~mask))
    region = Region.whole(grid.shape)
    made = (Segment(name, n, (1, 0, 0), region, half) for n, (name, half) in enumerate(halves, start=1))
    return Segmentation(grid, tuple(made))


def test_slices_that_do_not_end_with_a_byte_come_back_from_dicom(tmp_path: Path) -> None:
    """DICOM packs eight voxels into a byte, across slices: one of 63 ends in the middle of one."""
    grid = GRIDS["oblique"].crop(Region((0, 1, 0), SHAPE))
    made = two_halves(grid)
    (path,) = write_segmentation(made, tmp_path / "out.seg.dcm")
    found = by_dcmqi(path, tmp_path / "dcmqi")
    for segment, (_, mask, where), back in zip(
        made.segments, found, read_segmentation(path, grid).segments, strict=True
    ):
        np.testing.assert_allclose(places_of(mask, where), places_of(segment.mask, grid), atol=0.02)
        np.testing.assert_array_equal(back.over(segment.region), segment.mask)


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_other_kinds_of_dicom_segmentations_are_read(tmp_path: Path, kind: str) -> None:
    """As programs that predict write them; of a fraction, a half and more belongs to the segment."""
    import highdicom
    from pydicom import dcmread

    made = two_halves(GRIDS["oblique"])
    write_series(tmp_path / "ct", made.grid)
    files = sorted((tmp_path / "ct").iterdir(), reverse=True)
    source = [dcmread(file) for file in files]
    binary = dcmread(write_segmentation(made, tmp_path / "a.seg.dcm", source=files)[0])
    one, other = (segment.mask.T for segment in made.segments)
    fractions = np.stack([0.3 + 0.3 * one, 0.3 + 0.3 * other], axis=-1).astype(np.float32)
    for image in source:
        image.PatientBirthDate = image.PatientSex = image.AccessionNumber = image.StudyID = ""
        image.ReferringPhysicianName = ""
    highdicom.seg.Segmentation(
        source_images=source,
        pixel_array=fractions if kind == "FRACTIONAL" else (one + 2 * other).astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=[highdicom.seg.SegmentDescription.from_dataset(s) for s in binary.SegmentSequence],
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="",
        manufacturer_model_name="",
        software_versions="",
        device_serial_number="",
    ).save_as(tmp_path / "b")
    # No ending says what it is, as in what an archive sends.
    assert_same(read_segmentation(tmp_path / "b", made.grid), made)


def test_contours_are_not_read_and_said_so(tmp_path: Path) -> None:
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = RTStructureSetStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.Modality, data.PatientName = "RTSTRUCT", PATIENT
    data.save_as(tmp_path / "RS.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match=r"RS\.dcm holds contours \(RTSTRUCT\): make a labelmap of them first"):
        read_segmentation(tmp_path / "RS.dcm")


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("PatientSex", "female"),
        ("PatientBirthDate", "00000000"),
        ("StudyDate", "removed"),
        ("StudyTime", "12:00:00"),
    ],
)
def test_entries_that_are_none_of_dicom_stop_no_export(tmp_path: Path, entry: str, value: str) -> None:
    """As programs leave them that take names out of images."""
    import pydicom

    from PWSegmentationLib.volume.dicom import series_files
    from PWSegmentationLib.volume.reading import read_volume

    write_series(tmp_path / "ct", GRIDS["oblique"])
    with pydicom.config.disable_value_validation():
        for path in (tmp_path / "ct").iterdir():
            data = pydicom.dcmread(path)
            setattr(data, entry, value)
            data.save_as(path)
    grid = read_volume(tmp_path / "ct").grid
    made = segments(grid, 2)
    (path,) = write_segmentation(made, tmp_path / "out.seg.dcm", source=series_files(tmp_path / "ct"))
    assert_same(read_segmentation(path, grid), made)
    assert str(pydicom.dcmread(path).PatientName) == PATIENT
    assert not pydicom.dcmread(path).get(entry)


def slices_of(grid: Grid, slices: tuple[int, ...]) -> Segmentation:
    """One segment with voxels in these slices only."""
    mask = np.zeros(SHAPE, bool)
    mask[2:6, 3:5, list(slices)] = True
    return Segmentation(grid, (Segment("lesion", 1, (1, 0, 0), Region.whole(SHAPE), mask),))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("slices", [(2,), (2, 6), (1, 3, 5)])
def test_slices_without_a_segment_keep_their_place_in_dicom(
    tmp_path: Path, slices: tuple[int, ...], grid: Grid
) -> None:
    made = slices_of(grid, slices)
    (path,) = write_segmentation(made, tmp_path / "out.seg.dcm")
    assert_same(read_segmentation(path, grid), made)
    alone = read_segmentation(path)
    assert alone.grid.shape[2] == 1 + max(slices) - min(slices)
    size = made.segments[0].voxels * grid.voxel_volume
    assert alone.segments[0].voxels * alone.grid.voxel_volume == pytest.approx(size, rel=1e-3)


@pytest.mark.parametrize("slices", [(2,), (2, 6)])
def test_slices_thicker_than_they_are_apart_keep_their_place_in_dicom(tmp_path: Path, slices: tuple[int, ...]) -> None:
    from PWSegmentationLib.volume.dicom import series_files
    from PWSegmentationLib.volume.reading import read_volume

    # The series says 3 mm of each slice.
    write_series(tmp_path / "ct", Grid(SHAPE, np.diag([0.7, 0.7, 2.0, 1.0])))
    grid = read_volume(tmp_path / "ct").grid
    made = slices_of(grid, slices)
    (path,) = write_segmentation(made, tmp_path / "out.seg.dcm", source=series_files(tmp_path / "ct"))
    assert_same(read_segmentation(path, grid), made)
    assert read_segmentation(path).grid.spacing[2] == pytest.approx(2.0)


def test_dicom_segmentation_of_other_slices_is_refused(tmp_path: Path) -> None:
    grid = Grid(SHAPE, np.diag([0.7, 0.7, 3.0, 1.0]))
    (path,) = write_segmentation(slices_of(grid, (0, 1, 2)), tmp_path / "out.seg.dcm")
    with pytest.raises(InputError, match="was it drawn on another one"):
        read_segmentation(path, Grid((9, 8, 12), np.diag([0.7, 0.7, 1.0, 1.0])))


def test_dicom_segmentation_belongs_to_its_series(tmp_path: Path) -> None:
    import pydicom

    from PWSegmentationLib.volume.dicom import series_files
    from PWSegmentationLib.volume.reading import read_volume

    write_series(tmp_path / "ct", GRIDS["oblique"])
    grid = read_volume(tmp_path / "ct").grid
    files = series_files(tmp_path / "ct")
    (path,) = write_segmentation(segments(grid, 3), tmp_path / "out.seg.dcm", source=files)
    found, source = pydicom.dcmread(path), [pydicom.dcmread(f) for f in files]
    assert found.StudyInstanceUID == source[0].StudyInstanceUID
    assert found.FrameOfReferenceUID == source[0].FrameOfReferenceUID
    assert str(found.PatientName) == PATIENT
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == source[0].SeriesInstanceUID
    uid_at = {tuple(np.round([float(v) for v in s.ImagePositionPatient], 3)): s.SOPInstanceUID for s in source}
    for frame in found.PerFrameFunctionalGroupsSequence:
        position = tuple(np.round([float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient], 3))
        reference = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == uid_at[position]


@pytest.mark.parametrize("inner", ["", "series"], ids=["beside", "above"])
def test_a_segmentation_beside_the_series_is_no_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inner: str
) -> None:
    series = lesion_series(tmp_path)
    if inner:
        (tmp_path / "study").mkdir()
        series.rename(tmp_path / "study" / inner)
        series = tmp_path / "study"
    words = ["segment", series, "--prompts", tmp_path / "prompts.json", "-o", series / "organs.seg.dcm", "--quiet"]
    for _ in range(2):
        run(capsys, *words, "--method", "image-aware")
    from PWSegmentationLib.volume.reading import read_header, read_volume

    assert read_header(series).format == "DICOM series 3 (CT)"
    # Asked for by its number, it can still be looked at.
    assert "(SEG)" in read_header(series, series=1003).format
    assert read_segmentation(series / "organs.seg.dcm", read_volume(series).grid).names == ("lesion",)


def test_the_highdicom_that_slicer_brings_writes_names_of_any_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import highdicom

    real = highdicom.seg.Segmentation

    def as_in_0_27(**words: Any) -> Any:
        if "specific_character_set" in words:
            raise TypeError("SOPClass.__init__() got an unexpected keyword argument 'specific_character_set'")
        return real(**words)

    monkeypatch.setattr(highdicom.seg, "Segmentation", as_in_0_27)
    made = segments(GRIDS["straight"], 7)
    path = write_segmentation(made, tmp_path / "out.seg.dcm")[0]
    monkeypatch.undo()

    assert read_segmentation(path, made.grid).names == made.names


def test_dicom_says_what_it_cannot_hold(tmp_path: Path) -> None:
    from PWSegmentationLib.volume.dicom import series_files

    write_series(tmp_path / "ct", GRIDS["oblique"])
    made = segments(GRIDS["straight"], 2)
    with pytest.raises(InputError, match="not on the slices of that DICOM series"):
        write_segmentation(made, tmp_path / "out.seg.dcm", source=series_files(tmp_path / "ct"))
    long = Segmentation(made.grid, (Segment("n" * 65, 1, (1, 0, 0)),))
    with pytest.raises(InputError, match="use 1 to 64 characters"):
        write_segmentation(long, tmp_path / "out.seg.dcm")
    small = Segmentation(Grid((2, 3, 7), np.eye(4)), (Segment("dot", 1, (1, 0, 0)),))
    with pytest.raises(InputError, match="fewer than 8 voxels"):
        write_segmentation(small, tmp_path / "out.seg.dcm")
    assert [p.name for p in tmp_path.iterdir()] == ["ct"]


# ---- surfaces -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["straight", "left-handed", "permuted"])
@pytest.mark.parametrize("ending", [".stl", ".obj", ".ply"])
def test_surfaces_are_closed_and_in_place(tmp_path: Path, ending: str, name: str) -> None:
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    affine = GRIDS[name].affine @ np.diag([1, 1, 0.4, 1])
    grid = Grid((40, 30, 36), affine)
    index = np.indices(grid.shape).reshape(3, -1).T
    world = grid.to_world(index)
    center = grid.to_world((20, 15, 18))
    ball = (np.linalg.norm(world - center, axis=1) < 10).reshape(grid.shape)
    region = Region.around(ball)
    assert region is not None
    segment = Segment("ball", 1, (0.2, 0.4, 0.6), region, ball[region.slices])
    (path,) = write_segmentation(Segmentation(grid, (segment,)), tmp_path / f"out{ending}")
    assert b"SPACE=LPS" in path.read_bytes()[:400]
    reader = {".stl": vtk.vtkSTLReader, ".obj": vtk.vtkOBJReader, ".ply": vtk.vtkPLYReader}[ending]()
    reader.SetFileName(str(path))
    reader.Update()
    surface = reader.GetOutput()
    points = vtk_to_numpy(surface.GetPoints().GetData()) * (-1, -1, 1)
    np.testing.assert_allclose(points.mean(axis=0), center, atol=0.3)
    triangles = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    a, b, c = (points[triangles[:, n]] - center for n in range(3))
    # Triangles that face outwards, all of them, enclose the volume; its surface has no border.
    volume = float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)
    assert volume == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.06)
    edges = vtk.vtkFeatureEdges()
    clean = vtk.vtkCleanPolyData()
    clean.SetInputData(surface)
    edges.SetInputConnection(clean.GetOutputPort())
    edges.FeatureEdgesOff()
    edges.Update()
    assert edges.GetOutput().GetNumberOfCells() == 0


def test_a_surface_for_each_segment(tmp_path: Path) -> None:
    made = segments(GRIDS["oblique"], 4)
    paths = write_segmentation(made, tmp_path / "out.stl")
    assert [p.name for p in paths] == ["out.left_kidney.stl", "out.脾臓.stl", "out.الكبد.stl"]
    assert all(p.stat().st_size > 84 for p in paths)


# ---- provenance and the command ---------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    from PWSegmentationLib.commandline.main import main

    assert main([str(w) for w in words]) == code
    out = capsys.readouterr()
    return out.out if code == 0 else out.err


def lesion_series(folder: Path) -> Path:
    """A CT series of a patient with a name, and prompts for it."""
    write_series(folder / "ct", GRIDS["straight"])
    prompts = {
        "format": "pwseg-prompts",
        "version": 1,
        "segments": [{"name": "lesion", "points": [{"position": GRIDS["straight"].to_world((4, 4, 3)).tolist()}]}],
    }
    (folder / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    return folder / "ct"


def test_an_export_says_how_it_came_about_and_nothing_of_the_patient(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PWSegmentationLib.files import sha256, shipped_weights

    series = lesion_series(tmp_path)
    words = ["segment", series, "--prompts", tmp_path / "prompts.json", "-o", tmp_path / "a.seg.nrrd", "--seed", "7"]
    run(
        capsys, *words, "-o", tmp_path / "a.seg.dcm", "-o", tmp_path / "a.nii.gz", "--save-prompts", tmp_path / "p.json"
    )
    for name in ("a.seg.nrrd", "a.seg.dcm", "a.nii.gz"):
        text = (tmp_path / f"{name}.provenance.json").read_text(encoding="utf-8")
        document = json.loads(text)
        assert document["seed"] == 7
        assert document["model"] == {"sha256": sha256(shipped_weights())}
        assert document["methods"] == {"lesion": f"network {document['model']['sha256'][:8]}"}
        assert document["prompts"]["segments"][0]["name"] == "lesion"
        assert document["files"][name] == sha256(tmp_path / name)
        assert not {"by", "at"} & set(document)
        assert not any(word in text for word in ("Mustermann", "4711", str(tmp_path)))
    assert json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))["segments"][0]["name"] == "lesion"
    run(capsys, *words, "--by", "Dr. Who", "--dated", "--method", "network")
    document = json.loads((tmp_path / "a.seg.nrrd.provenance.json").read_text(encoding="utf-8"))
    assert document["by"] == "Dr. Who" and document["at"].startswith("2")
    assert len(document["model"]["sha256"]) == 64
    run(capsys, *words, "--method", "image-aware")
    document = json.loads((tmp_path / "a.seg.nrrd.provenance.json").read_text(encoding="utf-8"))
    assert document["methods"] == {"lesion": "image-aware label"} and "model" not in document


def test_one_format_into_another_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = lesion_series(tmp_path)
    run(capsys, "segment", series, "--prompts", tmp_path / "prompts.json", "-o", tmp_path / "a.seg.nrrd", "--quiet")
    (tmp_path / "table.json").write_text('{"lesion": 9}', encoding="utf-8")
    said = run(
        capsys, "export", tmp_path / "a.seg.nrrd", "--image", series, "-o", tmp_path / "b.seg.dcm", "-o",
        tmp_path / "b.nii.gz", "-o", tmp_path / "b.stl", "--labels", tmp_path / "table.json",
    )  # fmt: skip
    assert said.count("wrote ") == 8
    first = read_segmentation(tmp_path / "a.seg.nrrd")
    for name in ("b.seg.dcm", "b.nii.gz"):
        found = read_segmentation(tmp_path / name, first.grid)
        assert found.values == {"lesion": 9}
        whole = Region.whole(SHAPE)
        np.testing.assert_array_equal(found["lesion"].over(whole), first["lesion"].over(whole))
    run(capsys, "export", tmp_path / "b.seg.dcm", "-o", tmp_path / "c.nrrd", "--quiet")
    assert read_segmentation(tmp_path / "c.nrrd").values == {"lesion": 9}


def test_a_folder_of_cases_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PWSegmentationLib.volume.writing import write_image

    for name in ("a", "b"):
        made = segments(GRIDS["oblique"], 3)
        write_image(np.zeros(SHAPE, np.int16), made.grid, tmp_path / "cases" / name / "image.nii.gz")
        write_segmentation(made, tmp_path / "cases" / name / "segmentation.seg.nrrd")
    run(capsys, "export", tmp_path / "cases", "-o", tmp_path / "out", "--to", ".nii.gz", "--to", ".seg.dcm")
    for name in ("a.nii.gz", "b.seg.dcm"):
        assert_same(read_segmentation(tmp_path / "out" / name, GRIDS["oblique"]), segments(GRIDS["oblique"], 3))


def test_wrong_use_of_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_segmentation(segments(GRIDS["straight"], 2), tmp_path / "a.seg.nrrd")[0]
    (tmp_path / "table.json").write_text('{"left kidney": 1}', encoding="utf-8")
    for said, *words in [
        ("There is no segmentation", tmp_path / "none.nrrd", "-o", tmp_path / "b.nrrd"),
        ("unknown ending", path, "-o", tmp_path / "b.png"),
        ("is also the segmentation itself", path, "-o", path),
        ("no value for 'Milz (größer)'", path, "-o", tmp_path / "b.nrrd", "--labels", tmp_path / "table.json"),
        ("--to is for a folder", path, "-o", tmp_path / "b.nrrd", "--to", ".nrrd"),
        ("Cannot read", tmp_path / "table.json", "-o", tmp_path / "b.nrrd"),
    ]:
        assert said in run(capsys, "export", *words, code=2)
    assert not (tmp_path / "b.nrrd").exists()
