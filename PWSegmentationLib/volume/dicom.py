"""DICOM series as volumes.

The grid comes from the positions and orientation of the slices themselves, be they files or frames of one file, so that
a tilted gantry gives the sheared grid that it is, and slices that are missing or repeated are found before anything is
computed on them.

Messages name a series by its number, modality and count of slices, never by anything about the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.dicom_frames import read_frames
from PWSegmentationLib.volume.dicom_slices import (
    Slice,
    holds_frames,
    information,
    quiet,
    refuse_cut_off,
    refuse_left_out,
    refuse_undecodable,
    slice_of,
    tag,
)
from PWSegmentationLib.volume.dicom_voxels import frames_dtype, read_frame_voxels, read_stack, stack_dtype
from PWSegmentationLib.volume.reading import Header, Opened
from PWSegmentationLib.volume.slice_stack import sorted_slices, stack_grid

_SERIES_NUMBER, _SERIES_UID, _MODALITY = "0020|0011", "0020|000e", "0008|0060"
# Objects that lie beside an image and are none: what was drawn on it, and said of it.
_DRAWN = ("SEG", "RTSTRUCT", "SR")


@dataclass(frozen=True)
class _Series:
    number: str
    uid: str
    modality: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        count = len(self.files)
        number = f"number {self.number}" if self.number else "without a number"
        return f"{number} ({self.modality or 'of no modality'}, {count} file{'s' if count != 1 else ''})"


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do (or at least is called one)."""
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def open_dicom(path: Path, series: str | int | None) -> Opened:
    """Open the series in a folder, or the one that a file belongs to."""
    with quiet():
        chosen, slices = _sorted_series(path, series)
        try:
            grid = stack_grid(slices)
        except InputError as error:
            raise InputError(f"The DICOM series {chosen} has no place in space: {error}") from error
        title = f"DICOM series {chosen.number} ({chosen.modality})"
        if len(chosen.files) == 1:
            return Opened(Header(grid, frames_dtype(slices), title), lambda: read_frame_voxels(slices))
    return Opened(Header(grid, stack_dtype(slices), title), lambda: read_stack(slices))


def series_files(path: Path, series: str | int | None = None) -> list[Path]:
    """The files of the series that `open_dicom` opens, in the order of the volume's slices.

    An image of many frames is one file, whatever the order of its frames. Raises `InputError` as reading it does.
    """
    with quiet():
        chosen, slices = _sorted_series(path, series)
    return [Path(s.file) for s in slices] if len(chosen.files) > 1 else [Path(chosen.files[0])]


def _sorted_series(path: Path, series: str | int | None) -> tuple[_Series, list[Slice]]:
    """A series and its slices, in order: of all its files, or of all frames of its one file."""
    chosen = _choose(_find_series(path), series, path) if path.is_dir() else _series_of_file(path)
    readers = [information(f) for f in chosen.files]
    if any(r.GetNumberOfComponents() > 1 for r in readers):
        raise InputError(f"The DICOM series {chosen} is in colour: convert it to one channel first.")
    for reader, file in zip(readers, chosen.files, strict=True):
        refuse_cut_off(reader, file)
    if not any(holds_frames(r) for r in readers):
        refuse_left_out(chosen.files, chosen.uid)
        slices = [slice_of(r, f) for r, f in zip(readers, chosen.files, strict=True)]
    elif len(readers) == 1:
        slices = read_frames(chosen.files[0])
    else:
        raise InputError(
            f"The DICOM series {chosen} has several images of many frames each (parts, time points or echoes): name "
            "the file of one of them."
        )
    return chosen, sorted_slices(slices, chosen)


def _find_series(folder: Path) -> list[_Series]:
    files = _files_by_series(folder)
    if not any(_may_be_volume(_series(f)) for f in files.values()):
        # Only now the sub-folders: one for each series is how many systems export, with a localizer above them.
        for inner in sorted(p for p in folder.rglob("*") if p.is_dir()):
            for uid, more in _files_by_series(inner).items():
                files[uid] = (*files.get(uid, ()), *more)
    if not files:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            refuse_undecodable(path)
        raise InputError(f"The folder {folder} holds no DICOM images.")
    found = [_series(f) for f in files.values()]
    return sorted(found, key=lambda s: (not s.number.isdigit(), s.number.zfill(8), s.uid))


def _files_by_series(folder: Path) -> dict[str, tuple[str, ...]]:
    import SimpleITK

    find = SimpleITK.ImageSeriesReader
    try:
        uids = find.GetGDCMSeriesIDs(str(folder))
        return {uid: tuple(find.GetGDCMSeriesFileNames(str(folder), uid)) for uid in uids}
    except RuntimeError:
        # One damaged file is enough: then file by file, without it.
        return _readable_by_series(folder)


def _readable_by_series(folder: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        try:
            uid = tag(information(str(path)), _SERIES_UID)
        except InputError:
            continue
        if uid:
            found[uid] = (*found.get(uid, ()), str(path))
    return found


def _series(files: Sequence[str]) -> _Series:
    reader = information(files[0])
    return _Series(tag(reader, _SERIES_NUMBER), tag(reader, _SERIES_UID), tag(reader, _MODALITY), tuple(files))


def _may_be_volume(series: _Series) -> bool:
    """Whether it may be more than a drawing, or a single slice."""
    return series.modality not in _DRAWN and (len(series.files) > 1 or holds_frames(information(series.files[0])))


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
    if path.name.upper() == "DICOMDIR":
        raise InputError(f"{path} is the table of contents of a disc: give the folder that it lies in.")
    reader = information(str(path))
    uid = tag(reader, _SERIES_UID)
    # An image of many frames is a volume by itself, others of its series being time points or echoes.
    if not uid or holds_frames(reader):
        return _series((str(path),))
    return _series(_files_by_series(path.parent).get(uid) or (str(path),))
