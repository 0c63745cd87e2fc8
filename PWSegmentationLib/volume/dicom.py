"""DICOM series as volumes.

The grid comes from the positions and orientation of the slices themselves, so that a tilted gantry gives the sheared
grid that it is, and slices that are missing or repeated are found before anything is computed on them. Voxels come
through SimpleITK (GDCM), rescaled.

Messages name a series by its number, modality and count of slices, never by anything about the patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.grid import RAS_TO_LPS, Grid
from PWSegmentationLib.volume.reading import Header, Opened, itk_affine, itk_dtype

_SERIES_NUMBER, _SERIES_UID, _MODALITY = "0020|0011", "0020|000e", "0008|0060"
_POSITION, _ORIENTATION, _PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"

# Objects that lie beside an image and are none: what was drawn on it, and said of it.
_DRAWN = ("SEG", "RTSTRUCT", "SR")

# How far a slice may lie from its place in an even stack, as a fraction of the slice distance. Positions are often
# rounded to a tenth of a millimetre; a slice that is missing moves others by half a distance.
_EVENNESS = 0.2


@dataclass(frozen=True)
class _Series:
    number: str
    uid: str
    modality: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        count = len(self.files)
        return f"number {self.number} ({self.modality}, {count} file{'s' if count != 1 else ''})"


@dataclass(frozen=True)
class _Slice:
    """One file's header; ``position`` and the columns of ``axes`` (row and column direction) in LPS, mm."""

    file: str
    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    size: tuple[int, int]
    pixel_id: int

    def matches(self, other: _Slice) -> bool:
        return self.size == other.size and np.allclose(self.axes, other.axes, atol=1e-3)


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do (or at least is called one)."""
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def open_dicom(path: Path, series: str | int | None) -> Opened:
    """Open the series in a folder, or the one that a file belongs to."""
    with _quiet():
        chosen = _choose(_find_series(path), series, path) if path.is_dir() else _series_of_file(path)
        if len(chosen.files) == 1:
            return _open_single(chosen)
        slices = _sorted(tuple(_read_slice(f) for f in chosen.files), chosen)
    grid = _grid(slices)
    # Files of one series may be stored with different scale factors; the first tells the type of all.
    header = Header(grid, _kept(itk_dtype(slices[0].pixel_id)), _title(chosen))
    return Opened(header, lambda: _read_stack([s.file for s in slices]))


def series_files(path: Path, series: str | int | None = None) -> list[Path]:
    """The files of the series that `open_dicom` opens, in the order of the volume's slices.

    Raises `InputError` as reading it does.
    """
    with _quiet():
        chosen = _choose(_find_series(path), series, path) if path.is_dir() else _series_of_file(path)
        if len(chosen.files) == 1:
            return [Path(chosen.files[0])]
        return [Path(s.file) for s in _sorted(tuple(_read_slice(f) for f in chosen.files), chosen)]


def _find_series(folder: Path) -> list[_Series]:
    files = _files_by_series(folder)
    if all(_series(f).modality in _DRAWN for f in files.values()):
        # Only now the sub-folders: one for each series is how many systems export.
        for inner in sorted(p for p in folder.rglob("*") if p.is_dir()):
            for uid, more in _files_by_series(inner).items():
                files[uid] = (*files.get(uid, ()), *more)
    if not files:
        raise InputError(f"The folder {folder} holds no DICOM images.")
    found = [_series(f) for f in files.values()]
    return sorted(found, key=lambda s: (not s.number.isdigit(), s.number.zfill(8), s.uid))


def _files_by_series(folder: Path) -> dict[str, tuple[str, ...]]:
    import SimpleITK

    find = SimpleITK.ImageSeriesReader
    uids = find.GetGDCMSeriesIDs(str(folder))
    return {uid: tuple(find.GetGDCMSeriesFileNames(str(folder), uid)) for uid in uids}


def _series(files: Sequence[str]) -> _Series:
    reader = _information(files[0])
    return _Series(_tag(reader, _SERIES_NUMBER), _tag(reader, _SERIES_UID), _tag(reader, _MODALITY), tuple(files))


def _choose(found: list[_Series], wanted: str | int | None, folder: Path) -> _Series:
    images = [s for s in found if s.modality not in _DRAWN] or found
    if wanted is None and len(images) == 1:
        return images[0]
    numbers = [s.number for s in found]
    unique = len(set(numbers)) == len(numbers)
    listing = "; ".join(str(s) if unique else f"{s} with UID {s.uid}" for s in found)
    if wanted is None:
        what = "series number" if unique else "series UID"
        raise InputError(
            f"The folder {folder} holds {len(found)} DICOM series, {listing}: choose one by its {what} (--series)."
        )
    chosen = [s for s in found if str(wanted) in (s.number, s.uid)]
    if len(chosen) == 1:
        return chosen[0]
    problem = "no series" if not chosen else "more than one series"
    raise InputError(f"The folder {folder} holds {problem} {wanted}; there are: {listing}.")


def _series_of_file(path: Path) -> _Series:
    import SimpleITK

    uid = _tag(_information(str(path)), _SERIES_UID)
    files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(path.parent), uid) if uid else ()
    return _series(files or (str(path),))


def _open_single(series: _Series) -> Opened:
    """One file: a multi-frame image, or a single slice."""
    import SimpleITK

    reader = _information(series.files[0])
    if reader.GetNumberOfComponents() > 1:
        raise InputError(f"The DICOM series {series} is in colour: convert it to one channel first.")
    size = (*reader.GetSize(), 1)[:3]
    spacing, direction, origin = reader.GetSpacing(), reader.GetDirection(), reader.GetOrigin()
    grid = Grid(size, itk_affine(spacing, direction, origin))

    def load() -> NDArray[Any]:
        with _quiet():
            array = SimpleITK.GetArrayFromImage(reader.Execute())
        return np.asarray(_shrunk(array).T.reshape(size, order="F"))

    return Opened(Header(grid, _kept(itk_dtype(reader.GetPixelID())), _title(series)), load)


def _read_slice(file: str) -> _Slice:
    reader = _information(file)
    if reader.GetNumberOfComponents() > 1:
        raise InputError(f"The DICOM file {file} is in colour: convert it to one channel first.")
    try:
        position = _numbers(reader, _POSITION, 3)
        directions = _numbers(reader, _ORIENTATION, 6).reshape(2, 3)
        row_step, column_step = _numbers(reader, _PIXEL_SPACING, 2)
    except ValueError as error:
        raise InputError(f"The DICOM file {file} does not say where its slice lies: is it an image slice?") from error
    size = reader.GetSize()
    # Pixel spacing is (between rows, between columns); i runs along a row.
    axes = np.stack([directions[0] * column_step, directions[1] * row_step], axis=1)
    return _Slice(file, position, axes, (int(size[0]), int(size[1])), reader.GetPixelID())


def _sorted(slices: tuple[_Slice, ...], series: _Series) -> list[_Slice]:
    """Slices along their normal; an `InputError` if they are no even stack."""
    first = slices[0]
    if not all(s.matches(first) for s in slices):
        raise InputError(
            f"The DICOM series {series} mixes slices of different orientation or size (a localizer among them?): "
            "export the volume's slices alone."
        )
    normal = np.cross(first.axes[:, 0], first.axes[:, 1])
    normal /= np.linalg.norm(normal)
    place = np.array([s.position @ normal for s in slices])
    order = np.argsort(place, kind="stable")
    _check_even(place[order], series)
    return [slices[n] for n in order]


def _check_even(place: NDArray[np.float64], series: _Series) -> None:
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


def _grid(slices: list[_Slice]) -> Grid:
    affine = np.eye(4)
    affine[:3, :2] = slices[0].axes
    # From first to last, so that rounded positions do not add up; along the true path, so that a tilt is kept.
    affine[:3, 2] = (slices[-1].position - slices[0].position) / (len(slices) - 1)
    affine[:3, 3] = slices[0].position
    return Grid((*slices[0].size, len(slices)), RAS_TO_LPS @ affine)


def _read_stack(files: list[str]) -> NDArray[Any]:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(files)
    with _quiet():
        return np.asarray(_shrunk(SimpleITK.GetArrayFromImage(reader.Execute())).T)


def _kept(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float64 is what GDCM rescales into; the values need no more than float32."""
    return np.dtype(np.float32) if dtype == np.float64 else dtype


def _shrunk(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(_kept(array.dtype), copy=False)


def _title(series: _Series) -> str:
    return f"DICOM series {series.number} ({series.modality})"


def _information(file: str) -> Any:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"Cannot read the DICOM file {file}: it is damaged or holds no image.") from error
    return reader


def _tag(reader: Any, key: str) -> str:
    return str(reader.GetMetaData(key)).strip() if reader.HasMetaDataKey(key) else ""


def _numbers(reader: Any, key: str, count: int) -> NDArray[np.float64]:
    values = np.array([float(v) for v in _tag(reader, key).split("\\")])
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(key)
    return values


@contextmanager
def _quiet() -> Iterator[None]:
    """Without ITK's warnings, which print file contents and are answered here by sentences."""
    import SimpleITK

    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)
