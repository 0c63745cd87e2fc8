"""One slice of a DICOM image, and what the header of its file says, as GDCM reads it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError

_POSITION, _ORIENTATION, _PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"
_BETWEEN_SLICES, _THICKNESS = "0018|0088", "0018|0050"
_PHOTOMETRIC, _BITS_STORED, _SIGNED = "0028|0004", "0028|0101", "0028|0103"
_BITS_ALLOCATED = "0028|0100"
_FRAMES, _INTERCEPT, _SLOPE = "0028|0008", "0028|1052", "0028|1053"

# Of a file's start: the entries (0002,0002), what kind of object it is, and (0002,0010), how its voxels are stored.
_KIND = re.compile(rb"\x02\x00\x02\x00UI..([0-9.]+)", re.DOTALL)
_TRANSFER_SYNTAX = re.compile(rb"\x02\x00\x10\x00UI..([0-9.]+)", re.DOTALL)
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
# Deflated, RLE, and JPEG, JPEG-LS and JPEG 2000 by the last number.
_DECODED = (
    *("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"),
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91)),
)
# Bytes of a file's start that hold these entries, and that hold what series it is of.
_OWN_HEADER, _SERIES_HEADER = 1 << 12, 1 << 16


@dataclass(frozen=True)
class Slice:
    """Where a slice lies and how its values are scaled.

    ``position`` and the columns of ``axes`` (one voxel's step along a row and along a column) in LPS, mm; ``size`` is
    (columns, rows); ``frame`` counts within its file; ``rescale`` is (slope, intercept); ``thickness``, mm, is the
    distance to a neighbour where there is none to measure it by; ``mirror`` is what `mirror_of` says.
    """

    file: str
    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    size: tuple[int, int]
    rescale: tuple[float, float] = (1.0, 0.0)
    thickness: float = 1.0
    frame: int = 0
    pixel_id: int = 0
    mirror: float | None = None

    def matches(self, other: Slice) -> bool:
        """Whether both have the same size, orientation and pixel spacing."""
        return self.size == other.size and np.allclose(self.axes, other.axes, atol=1e-3)


def slice_of(reader: Any, file: str) -> Slice:
    """The slice in ``file``, whose header `information` read; an `InputError` where it does not say where it lies."""
    try:
        position = _numbers(reader, _POSITION, 3)
        directions = _numbers(reader, _ORIENTATION, 6).reshape(2, 3)
        spacing = _numbers(reader, _PIXEL_SPACING, 2)
    except ValueError as error:
        raise no_place(file) from error
    size = reader.GetSize()
    rescale = (_number(reader, _SLOPE) or 1.0, _number(reader, _INTERCEPT))
    return Slice(
        file,
        position,
        slice_axes(directions, spacing),
        (int(size[0]), int(size[1])),
        rescale=rescale,
        thickness=abs(_number(reader, _BETWEEN_SLICES)) or _number(reader, _THICKNESS) or 1.0,
        pixel_id=reader.GetPixelID(),
        mirror=mirror_of(reader, rescale),
    )


def mirror_of(reader: Any, rescale: tuple[float, float]) -> float | None:
    """What a value that GDCM reads and the stored one, both rescaled, add up to; None where they are the same.

    Where the highest value is black (MONOCHROME1), GDCM turns values round to make it white. Here they are
    measurements, and nothing is shown.
    """
    if tag(reader, _PHOTOMETRIC) != "MONOCHROME1":
        return None
    signed = _number(reader, _SIGNED) == 1
    stored = -1.0 if signed else 2.0 ** _number(reader, _BITS_STORED) - 1
    slope, intercept = rescale
    return slope * stored + 2 * intercept


def slice_axes(directions: NDArray[np.float64], spacing: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """``Slice.axes`` of DICOM's orientation, ``(2, 3)``, and pixel spacing."""
    # Pixel spacing is (between rows, between columns); i runs along a row.
    return np.stack([directions[0] * spacing[1], directions[1] * spacing[0]], axis=1)


def holds_frames(reader: Any) -> bool:
    """Whether a file is of the kind that may hold many frames, instead of one slice of a series."""
    frames = _number(reader, _FRAMES)
    return frames > 1 or (frames == 1 and not reader.HasMetaDataKey(_POSITION))


def information(file: str) -> Any:
    """A SimpleITK reader that has read the header of ``file``; an `InputError` if it has none."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        refuse_undecodable(file)
        raise InputError(f"Cannot read the DICOM file {file}: it is damaged or holds no image.") from error
    return reader


def refuse_undecodable(file: str | Path) -> None:
    """Raise `InputError` if the voxels of ``file``, which could not be read, are compressed in a way GDCM has not."""
    syntax = _entry(_TRANSFER_SYNTAX, _head(Path(file)))
    if syntax and syntax not in (*_UNCOMPRESSED, *_DECODED):
        raise InputError(
            f"The DICOM file {file} is compressed in a way that cannot be read (transfer syntax {syntax}): export it "
            "uncompressed, or as JPEG 2000."
        )


def refuse_left_out(files: Sequence[str], uid: str) -> None:
    """Raise `InputError` if a file beside ``files``, those of the series ``uid``, is one more, which cannot be read.

    GDCM leaves it out, and where it is the first or the last slice, nothing else tells.
    """
    read = {Path(file) for file in files}
    kind = _entry(_KIND, _head(Path(files[0])))
    if not (kind and uid):
        return
    for path in sorted(p for folder in {p.parent for p in read} for p in folder.iterdir()):
        if path in read or not path.is_file():
            continue
        head = _head(path, _SERIES_HEADER)
        # Others may name the series, too.
        if _entry(_KIND, head) == kind and uid.encode() in head:
            try:
                information(str(path))
            except InputError as error:
                raise InputError(
                    f"The DICOM file {path} is of that series, but damaged or cut off: export it again, or remove it."
                ) from error


def _head(path: Path, size: int = _OWN_HEADER) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _entry(pattern: re.Pattern[bytes], head: bytes) -> str:
    """What an entry of the file's own header says; empty where there is none."""
    found = pattern.search(head[:_OWN_HEADER])
    return "" if found is None else found[1].decode()


def refuse_cut_off(reader: Any, file: str) -> None:
    """Raise `InputError` if ``file`` is smaller than the voxels that its header tells of: GDCM makes up the rest."""
    path = Path(file)
    if _entry(_TRANSFER_SYNTAX, _head(path)) not in _UNCOMPRESSED:
        return
    needed = math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * _number(reader, _BITS_ALLOCATED) / 8
    if path.stat().st_size < needed:
        raise InputError(f"The DICOM file {file} is cut off: a part of its voxels is missing. Export it again.")


def no_place(file: str) -> InputError:
    """What is said of images without a position."""
    return InputError(f"The DICOM file {file} does not say where its slice lies: is it an image slice?")


def tag(reader: Any, key: str) -> str:
    """A header entry as text; empty where there is none."""
    return str(reader.GetMetaData(key)).strip() if reader.HasMetaDataKey(key) else ""


def _number(reader: Any, key: str) -> float:
    """A header entry as a number; 0 where there is none."""
    try:
        return float(_numbers(reader, key, 1)[0])
    except ValueError:
        return 0.0


def _numbers(reader: Any, key: str, count: int) -> NDArray[np.float64]:
    values = np.array([float(v) for v in tag(reader, key).split("\\")])
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(key)
    return values


@contextmanager
def quiet() -> Iterator[None]:
    """Without ITK's warnings, which print file contents and are answered here by sentences."""
    import SimpleITK

    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)
