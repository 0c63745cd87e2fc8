"""Image files of every kind come back with their voxels where they were, or with one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, HTJ2KLossless, RLELossless, generate_uid

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.reading import read_header, read_volume

SHAPE = (5, 6, 7)
PATIENT = "Doe^Jane"


def rotation(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_s = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    about_r = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return about_s @ about_r


def affine_of(axes: np.ndarray, spacing: tuple[float, float, float] = (0.7, 1.3, 2.5)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(spacing)
    affine[:3, 3] = (-31.5, 12.25, 140.0)
    return affine


AFFINES = {
    "straight": affine_of(np.eye(3)),
    "LPS": affine_of(np.diag([-1.0, -1.0, 1.0])),
    "left-handed": affine_of(np.diag([1.0, 1.0, -1.0])),
    "permuted": affine_of(np.eye(3)[:, [2, 0, 1]]),
    "oblique": affine_of(rotation(25)),
    "oblique left-handed": affine_of(rotation(25) @ np.diag([-1.0, 1.0, 1.0])),
}


def voxels(dtype: str = "int16") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)


def write_itk(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """As any ITK program would: LPS, k slowest."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    SimpleITK.WriteImage(image, str(path))


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_voxels_stay_where_they_are(tmp_path: Path, ending: str, name: str) -> None:
    path = tmp_path / f"image{ending}"
    if ending.startswith(".nii"):
        nibabel.save(nibabel.Nifti1Image(voxels(), AFFINES[name]), path)
    else:
        write_itk(voxels(), AFFINES[name], path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, voxels())
    assert volume.array.dtype == np.int16
    assert volume.grid.same_as(Grid(SHAPE, AFFINES[name]))
    header = read_header(path)
    assert header.dtype == np.int16
    assert header.grid.same_as(volume.grid)


def test_nifti_written_by_itk_lies_where_itk_says(tmp_path: Path) -> None:
    """Two libraries, one place: the sign of each axis is not just undone by the function that made it."""
    affine = AFFINES["oblique left-handed"]
    write_itk(voxels(), affine, tmp_path / "a.nii.gz")
    assert read_volume(tmp_path / "a.nii.gz").grid.same_as(Grid(SHAPE, affine))


def test_sheared_nifti(tmp_path: Path) -> None:
    affine = AFFINES["straight"].copy()
    affine[1, 2] = 0.9
    nibabel.save(nibabel.Nifti1Image(voxels(), affine), tmp_path / "tilted.nii.gz")
    assert read_volume(tmp_path / "tilted.nii.gz").grid.same_as(Grid(SHAPE, affine))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("ending", [".nii", ".nrrd"])
def test_types_are_kept(tmp_path: Path, ending: str, dtype: str) -> None:
    path = tmp_path / f"image{ending}"
    if ending == ".nii":
        nibabel.save(nibabel.Nifti1Image(voxels(dtype), AFFINES["oblique"], dtype=dtype), path)
    else:
        write_itk(voxels(dtype), AFFINES["oblique"], path)
    assert read_volume(path).array.dtype == read_header(path).dtype == np.dtype(dtype)


def test_scaled_nifti_is_float32(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), np.eye(4))
    image.header.set_slope_inter(0.5, -10)
    nibabel.save(image, tmp_path / "scaled.nii")
    # nibabel rescales what it writes; write the stored integers behind its back.
    raw = bytearray((tmp_path / "scaled.nii").read_bytes())
    raw[352:] = voxels().tobytes(order="F")
    (tmp_path / "scaled.nii").write_bytes(raw)
    volume = read_volume(tmp_path / "scaled.nii")
    assert volume.array.dtype == read_header(tmp_path / "scaled.nii").dtype == np.float32
    np.testing.assert_allclose(volume.array, voxels() * 0.5 - 10)


def test_big_endian_becomes_native(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(voxels(">i2"), np.eye(4), header), tmp_path / "big.nii")
    array = read_volume(tmp_path / "big.nii").array
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, voxels())


@pytest.mark.parametrize(("unit", "scale"), [("meter", 1e-3), ("mm", 1.0), ("micron", 1e3), ("unknown", 1.0)])
def test_nifti_in_other_units(tmp_path: Path, unit: str, scale: float) -> None:
    affine = AFFINES["straight"]
    image = nibabel.Nifti1Image(voxels(), np.diag([scale, scale, scale, 1]) @ affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").grid.affine, affine, rtol=1e-5)


def test_a_unit_that_is_none_is_millimetres(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels(), AFFINES["straight"]), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[123] = 255
    (tmp_path / "a.nii").write_bytes(raw)
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").grid.affine, AFFINES["straight"], rtol=1e-5)


@pytest.mark.parametrize("slope", [1.0, 2.0])
def test_complex_numbers_are_refused(tmp_path: Path, slope: float) -> None:
    image = nibabel.Nifti1Image(voxels().astype(np.complex64), np.eye(4))
    image.header.set_slope_inter(slope, 0.0)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"a\.nii holds complex numbers"):
        read_volume(tmp_path / "a.nii")


def test_trailing_single_axis_is_dropped(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels()[..., None], np.eye(4)), tmp_path / "one.nii.gz")
    assert read_volume(tmp_path / "one.nii.gz").grid.shape == SHAPE


def test_a_file_may_be_replaced_while_its_volume_is_in_use(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels(), np.eye(4)), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes(b"\0" * 10)
    np.testing.assert_array_equal(volume.array, voxels())


# ---- what cannot be read ----------------------------------------------------------------------------------------


def bad_files(folder: Path) -> dict[str, Path]:
    cut, garbled = ("cut.nii.gz", "cut.nrrd"), ("garbled.nii.gz", "garbled.nrrd")
    names = ("text.nii.gz", "text.nrrd", "empty.nii", "empty.mha", *cut, *garbled, "what.xyz")
    made = {name: folder / name for name in names}
    for path in made.values():
        path.write_text("this is no image", encoding="utf-8")
    made["empty.nii"].write_bytes(b"")
    made["empty.mha"].write_bytes(b"")
    noise = np.random.default_rng(1).normal(size=(40, 40, 40))
    nibabel.save(nibabel.Nifti1Image(noise, np.eye(4)), folder / "whole.nii.gz")
    write_itk(noise, np.eye(4), folder / "whole.nrrd")
    for ending in (".nii.gz", ".nrrd"):
        whole = (folder / f"whole{ending}").read_bytes()
        half = len(whole) // 2
        made[f"cut{ending}"].write_bytes(whole[:half])
        made[f"garbled{ending}"].write_bytes(whole[:half] + np.random.default_rng(0).bytes(half))
    return made


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text.nii.gz", "not a valid NIfTI"),
        ("text.nrrd", "not a readable"),
        ("empty.nii", "is empty"),
        ("empty.mha", "is empty"),
        ("cut.nii.gz", "damaged or cut off"),
        ("cut.nrrd", "damaged or cut off"),
        ("garbled.nii.gz", "damaged or cut off"),
        ("garbled.nrrd", "damaged or cut off"),
        ("what.xyz", "not a readable"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_volume(bad_files(tmp_path)[name])
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(("header", "other"), [("a.mhd", "a.raw"), ("a.hdr", "a.img")])
def test_a_header_without_its_voxels_is_told(tmp_path: Path, header: str, other: str) -> None:
    if header == "a.mhd":
        write_itk(voxels(), np.eye(4), tmp_path / header)
    else:
        nibabel.save(nibabel.Nifti1Pair(voxels(), np.eye(4)), tmp_path / other)
    np.testing.assert_array_equal(read_volume(tmp_path / header).array, voxels())
    (tmp_path / other).unlink()
    with pytest.raises(InputError, match="or the file with its voxels is missing"):
        read_volume(tmp_path / header)


def test_a_refused_affine_names_its_file(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), None)
    image.set_sform(np.diag([1.0, 0.0, 1.0, 1.0]), code=1)
    nibabel.save(image, tmp_path / "flat.nii")
    with pytest.raises(InputError, match=r"flat\.nii: The IJK-to-RAS matrix is singular"):
        read_volume(tmp_path / "flat.nii")


def test_a_slice_without_pixel_spacing_is_refused(tmp_path: Path) -> None:
    def flat(data: pydicom.Dataset, k: int) -> None:
        data.PixelSpacing = [0, 0]

    write_series(tmp_path, slices=1, change=flat)
    with pytest.raises(InputError, match=r"series number 3 \(CT, 1 file\) has no place in space"):
        read_volume(tmp_path)


def test_missing_file_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file or folder"):
        read_volume(tmp_path / "none.nii.gz")
    with pytest.raises(InputError, match="holds no DICOM images"):
        read_volume(tmp_path)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_time_series_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"series{ending}"
    if ending == ".nii.gz":
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 3)), np.eye(4)), path)
    else:
        SimpleITK.WriteImage(SimpleITK.Image([4, 4, 4, 3], SimpleITK.sitkInt16), str(path))
    with pytest.raises(InputError, match="4 axes"):
        read_volume(path)


def test_colour_is_refused(tmp_path: Path) -> None:
    rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), tmp_path / "rgb.nii.gz")
    with pytest.raises(InputError, match="colour"):
        read_volume(tmp_path / "rgb.nii.gz")
    SimpleITK.WriteImage(SimpleITK.Image([4, 4, 4], SimpleITK.sitkVectorUInt8, 3), str(tmp_path / "rgb.nrrd"))
    with pytest.raises(InputError, match="3 values per voxel"):
        read_volume(tmp_path / "rgb.nrrd")


def test_a_slice_is_refused(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.Image([4, 4], SimpleITK.sitkInt16), str(tmp_path / "flat.nrrd"))
    with pytest.raises(InputError, match="2D image"):
        read_volume(tmp_path / "flat.nrrd")


# ---- DICOM ------------------------------------------------------------------------------------------------------


def write_series(
    folder: Path,
    *,
    slices: int = 6,
    number: int = 3,
    gaps: list[float] | None = None,
    axes: np.ndarray | None = None,
    step: tuple[float, float, float] | None = None,
    intercept: int = -1000,
    change: Callable[[pydicom.Dataset, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A CT series, its files named against their order; returns array [i, j, k] and affine (RAS).

    ``change`` may do to each file's data, before it is written, what it likes; it is told the number of the slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    axes = np.eye(3) if axes is None else axes
    array = np.random.default_rng(number).integers(0, 2000, (5, 4, slices)).astype(np.uint16)
    place = np.concatenate([[0], np.cumsum([2.5] * (slices - 1) if gaps is None else gaps)])
    origin = np.array([10.0, -20.0, 30.0])
    uid = generate_uid()
    for k in range(slices):
        position = origin + (axes[:, 2] * place[k] if step is None else np.array(step) * k)
        data = pydicom.Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.SeriesInstanceUID, data.StudyInstanceUID = uid, generate_uid()
        data.SeriesNumber, data.Modality, data.PatientName, data.PatientID = number, "CT", PATIENT, "4711"
        data.InstanceNumber = k + 1
        data.ImagePositionPatient = [float(v) for v in position]
        data.ImageOrientationPatient = [float(v) for v in (*axes[:, 0], *axes[:, 1])]
        data.PixelSpacing = [1.25, 0.75]  # between rows (j), between columns (i)
        data.Rows, data.Columns = 4, 5
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 0
        data.RescaleSlope, data.RescaleIntercept = 1, intercept
        data.PixelData = np.ascontiguousarray(array[:, :, k].T).tobytes()
        if change is not None:
            change(data, k)
        data.save_as(folder / f"im{slices - k:03d}.dcm", enforce_file_format=True)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = axes[:, 0] * 0.75, axes[:, 1] * 1.25
    lps[:3, 2] = axes[:, 2] * 2.5 if step is None else np.array(step)
    lps[:3, 3] = origin
    return array.astype(np.int32) + intercept, np.diag([-1, -1, 1, 1]) @ lps


@pytest.mark.parametrize("axes", [np.eye(3), rotation(20)], ids=["axial", "oblique"])
def test_dicom_folder(tmp_path: Path, axes: np.ndarray) -> None:
    array, affine = write_series(tmp_path, axes=axes)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype.kind == "i"
    assert volume.grid.same_as(Grid(array.shape, affine))
    assert read_header(tmp_path).format == "DICOM series 3 (CT)"
    assert read_header(tmp_path).dtype == volume.array.dtype


def test_tilted_gantry_gives_a_sheared_grid(tmp_path: Path) -> None:
    array, affine = write_series(tmp_path, step=(0.0, 0.8, 2.4))
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.grid.same_as(Grid(array.shape, affine))


def test_a_localizer_above_the_series_is_not_taken_for_the_image(tmp_path: Path) -> None:
    write_series(tmp_path, slices=1, number=1)
    array, _ = write_series(tmp_path / "thorax", number=3)

    with pytest.raises(InputError, match=r"holds 2 DICOM series, number 1 \(CT, 1 file\); number 3 \(CT, 6 files\)"):
        read_volume(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path, series=3).array, array)


def test_a_slice_without_anything_below_it_is_an_image(tmp_path: Path) -> None:
    array, _ = write_series(tmp_path, slices=1)
    (tmp_path / "empty").mkdir()

    np.testing.assert_array_equal(read_volume(tmp_path).array, array)


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    write_series(tmp_path, number=3)
    array, _ = write_series(tmp_path / "x", number=4)
    for path in (tmp_path / "x").iterdir():
        path.rename(tmp_path / f"other-{path.stem}")  # no ending, as scanners like it
    np.testing.assert_array_equal(read_volume(tmp_path / "other-im002").array, array)


def test_several_series_are_listed_and_chosen(tmp_path: Path) -> None:
    write_series(tmp_path / "a", number=2, slices=3)
    array, _ = write_series(tmp_path / "b", number=11)
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path)
    said = str(caught.value)
    assert "number 2 (CT, 3 files); number 11 (CT, 6 files)" in said
    assert "--series" in said
    assert "Doe" not in said
    assert "4711" not in said
    np.testing.assert_array_equal(read_volume(tmp_path, series=11).array, array)
    with pytest.raises(InputError, match="holds no series 7"):
        read_volume(tmp_path, series="7")


def test_series_of_one_number_are_told_apart_by_uid(tmp_path: Path) -> None:
    write_series(tmp_path / "a", slices=3)
    write_series(tmp_path / "b")
    with pytest.raises(InputError, match="with UID"):
        read_volume(tmp_path)
    uid = str(pydicom.dcmread(next((tmp_path / "a").iterdir())).SeriesInstanceUID)
    assert read_volume(tmp_path, series=uid).grid.shape == (5, 4, 3)
    with pytest.raises(InputError, match="more than one series 3"):
        read_volume(tmp_path, series=3)


@pytest.mark.parametrize(
    ("gaps", "said"),
    [
        ([2.5, 5.0, 2.5, 2.5, 2.5], "lacks about 1 slice "),
        ([2.5, 2.5, 2.5, 2.5, 7.5], "lacks about 2 slices"),
        ([2.5, 0.0, 2.5, 2.5, 2.5], "several slices at one position"),
        ([2.5, 3.3, 2.5, 1.8, 2.5], "unevenly spaced"),
    ],
)
def test_uneven_series_are_refused(tmp_path: Path, gaps: list[float], said: str) -> None:
    write_series(tmp_path, gaps=gaps)
    with pytest.raises(InputError, match=said) as caught:
        read_volume(tmp_path)
    assert "Doe" not in str(caught.value)


def test_rounded_positions_are_no_gap(tmp_path: Path) -> None:
    write_series(tmp_path, gaps=[2.4, 2.5, 2.6, 2.5, 2.4])
    assert read_volume(tmp_path).grid.shape[2] == 6


def test_single_slice_and_damaged_file(tmp_path: Path) -> None:
    write_series(tmp_path, slices=1)
    assert read_volume(tmp_path).grid.shape == (5, 4, 1)
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 128 + b"DICMrubbish")
    with pytest.raises(InputError, match="damaged or holds no image"):
        read_volume(tmp_path / "bad.dcm")


def test_a_single_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    def thick(data: pydicom.Dataset, k: int) -> None:
        data.SliceThickness = 3.0

    array, _ = write_series(tmp_path, slices=1, change=thick)
    volume = read_volume(tmp_path)
    np.testing.assert_allclose(volume.grid.spacing, (0.75, 1.25, 3.0))
    np.testing.assert_array_equal(volume.array, array)


def test_a_slice_beside_the_others_is_refused(tmp_path: Path) -> None:
    def aside(data: pydicom.Dataset, k: int) -> None:
        if k == 3:
            data.ImagePositionPatient = [data.ImagePositionPatient[0] + 15.0, *data.ImagePositionPatient[1:]]

    write_series(tmp_path, change=aside)
    with pytest.raises(InputError, match=r"a slice that lies 15\.0 mm beside"):
        read_volume(tmp_path)


def test_slices_of_different_scale_keep_their_fractions(tmp_path: Path) -> None:
    def scaled(data: pydicom.Dataset, k: int) -> None:
        data.Modality, data.RescaleIntercept = "PT", 0
        data.RescaleSlope = 1.0 if k == 0 else 0.25

    array, _ = write_series(tmp_path, intercept=0, change=scaled)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, array * np.array([1.0, *[0.25] * 5]))
    assert read_header(tmp_path).dtype == volume.array.dtype


@pytest.mark.parametrize("slices", [1, 6])
@pytest.mark.parametrize("stored", ["uint16", "12 bits", "int16", "scaled"])
def test_black_on_white_is_read_as_it_is_stored(tmp_path: Path, stored: str, slices: int) -> None:
    def inverted(data: pydicom.Dataset, k: int) -> None:
        data.PhotometricInterpretation = "MONOCHROME1"
        data.PixelRepresentation = int(stored == "int16")
        if stored == "12 bits":
            data.BitsStored, data.HighBit = 12, 11
        if stored == "scaled":
            data.RescaleSlope = 2.5 + k

    array, _ = write_series(tmp_path, slices=slices, change=inverted)
    slopes = np.arange(slices) + 2.5 if stored == "scaled" else 1.0
    np.testing.assert_allclose(read_volume(tmp_path).array, (array + 1000) * slopes - 1000, atol=0.01)


@pytest.mark.parametrize("slices", [1, 6])
def test_a_slice_that_is_cut_off_is_refused(tmp_path: Path, slices: int) -> None:
    def cut(data: pydicom.Dataset, k: int) -> None:
        data.Rows, data.Columns = 128, 128
        data.PixelData = bytes(2 * 128 * 128 if k else 100)

    write_series(tmp_path, slices=slices, change=cut)
    with pytest.raises(InputError, match="cut off") as caught:
        read_volume(tmp_path)
    assert f"im{slices:03d}.dcm" in str(caught.value)


def test_a_file_that_gdcm_stumbles_over_is_in_no_images_way(tmp_path: Path) -> None:
    """A dose of one frame beside the CT of its plan."""
    array, affine = write_series(tmp_path)
    dose = get_testdata_file("rtdose_1frame.dcm", download=False)
    shutil.copy(str(dose), tmp_path)
    for path in (tmp_path, next(tmp_path.glob("[!r]*.dcm"))):
        volume = read_volume(path, series=3)
        np.testing.assert_array_equal(volume.array, array)
        assert volume.grid.same_as(Grid(volume.array.shape, affine))


def compressed(uid: str) -> Callable[[pydicom.Dataset, int], None]:
    """Slices of 32 × 32 voxels, each with as many more as its number, as ``uid`` packs them."""

    def change(data: pydicom.Dataset, k: int) -> None:
        data.Rows, data.Columns = 32, 32
        data.PixelData = (np.arange(1024, dtype=np.uint16) * 7 % 1999 + k).tobytes()
        data.compress(uid)

    return change


def test_compressed_slices_are_read(tmp_path: Path) -> None:
    write_series(tmp_path, change=compressed(RLELossless))
    first = (np.arange(1024).reshape(32, 32).T * 7 % 1999)[:, :, None] - 1000
    np.testing.assert_array_equal(read_volume(tmp_path).array, first + np.arange(6))


@pytest.mark.parametrize("syntax", [HTJ2KLossless, "1.2.840.10008.1.2.4.110"], ids=["HTJ2K", "JPEG XL"])
def test_a_compression_that_cannot_be_read_is_named(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path, slices=2, change=compressed(RLELossless))
    old = RLELossless.encode() + b"\0"
    for path in tmp_path.iterdir():
        # One that this version of pydicom may not know: the length of the entry, and of all those before the slice.
        head = path.read_bytes()
        new = syntax.encode() + b"\0" * (len(syntax) % 2)
        at = head.index(old)
        length = len(new).to_bytes(2, "little")
        more = int.from_bytes(head[140:144], "little") + len(new) - len(old)
        start = head[:140] + more.to_bytes(4, "little") + head[144 : at - 2]
        path.write_bytes(start + length + new + head[at + len(old) :])
    for path in (tmp_path, next(tmp_path.iterdir())):
        with pytest.raises(InputError, match=f"transfer syntax {syntax}.: export it uncompressed"):
            read_volume(path)


def test_a_compressed_slice_that_is_cut_off_is_not_left_out(tmp_path: Path) -> None:
    """The last one of a stack: the others are even without it."""
    write_series(tmp_path, change=compressed(RLELossless))
    last = tmp_path / "im001.dcm"
    last.write_bytes(last.read_bytes()[:-600])
    for path in (tmp_path, tmp_path / "im003.dcm"):
        with pytest.raises(InputError, match=r"im001\.dcm is of that series, but damaged or cut off: export it"):
            read_volume(path)


def test_the_table_of_a_disc_is_no_image(tmp_path: Path) -> None:
    array, _ = write_series(tmp_path / "DICOM" / "0001")
    table = get_testdata_file("dicomdirtests/DICOMDIR", download=False)
    shutil.copy(str(table), tmp_path / "DICOMDIR")
    with pytest.raises(InputError, match="table of contents of a disc: give the folder"):
        read_volume(tmp_path / "DICOMDIR")
    np.testing.assert_array_equal(read_volume(tmp_path).array, array)


def test_slices_without_the_usual_start_are_read(tmp_path: Path) -> None:
    """Old archives leave out 128 bytes of nothing and the word DICM."""
    array, affine = write_series(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[132:])
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.grid.same_as(Grid(array.shape, affine))
