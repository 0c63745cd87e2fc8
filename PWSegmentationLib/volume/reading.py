"""Image files as volumes: NIfTI, NRRD, MHA and whatever else SimpleITK reads, and DICOM series.

NIfTI goes through nibabel, because its affine may be anything, also sheared; the rest through SimpleITK, whose LPS
world is turned into RAS. Voxels keep the type they have in the file where they need no scaling, so that a CT of
16-bit integers does not take four times its memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.grid import RAS_TO_LPS, Grid
from PWSegmentationLib.volume.volume import Volume

# What image files are called that people keep volumes and labelmaps in; more can be read.
IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")

_NIFTI = (".nii", ".nii.gz", ".hdr", ".img", ".mgh", ".mgz")

# Millimetres in a unit of NIfTI; what is unknown is taken for them.
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}


@dataclass(frozen=True)
class Header:
    """What a file says about its image before the voxels are read.

    ``dtype`` is the type `read_volume` returns; ``format`` is for people ("NIfTI", "DICOM series 3 (CT)").
    """

    grid: Grid
    dtype: np.dtype[Any]
    format: str


@dataclass(frozen=True)
class Opened:
    """A file whose header is read, and a way to its voxels, ``[i, j, k]``."""

    header: Header
    load: Callable[[], NDArray[Any]]


def read_volume(path: str | Path, *, series: str | int | None = None) -> Volume:
    """Read an image file or a folder with a DICOM series.

    Parameters
    ----------
    path
        An image file, a folder of DICOM files, or one of its files.
    series
        Which DICOM series to read where a folder holds several: its series number or its instance UID.

    Raises
    ------
    InputError
        With one sentence, if there is no such file, it cannot be read, or it does not hold one volume of real
        numbers. No message holds anything that identifies the patient beyond the path given.
    """
    opened = _open(Path(path), series)
    try:
        array = opened.load()
    except InputError:
        raise
    except (OSError, EOFError, RuntimeError, ValueError, zlib.error) as error:
        # The header may lie in a file of its own (.mhd, .hdr).
        raise InputError(
            f"Cannot read the voxels of {path}: the file is damaged or cut off, or the file with its voxels is missing."
        ) from error
    # Nothing later has to think about byte order.
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Volume.from_array(array, opened.header.grid.affine)


def read_header(path: str | Path, *, series: str | int | None = None) -> Header:
    """What `read_volume` would read, without reading the voxels."""
    return _open(Path(path), series).header


def _open(path: Path, series: str | int | None) -> Opened:
    from PWSegmentationLib.volume.dicom import is_dicom, open_dicom

    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    try:
        if path.is_dir() or is_dicom(path):
            return open_dicom(path, series)
        if path.stat().st_size == 0:
            raise InputError(f"The file {path} is empty.")
        if path.name.lower().endswith(_NIFTI):
            return _open_nifti(path)
        return _open_itk(path)
    except PermissionError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error


def _open_nifti(path: Path) -> Opened:
    import nibabel

    try:
        # Not mapped into memory: the file may be replaced while the volume is in use.
        image: Any = nibabel.load(path, mmap=False)
        shape, stored = image.shape, image.get_data_dtype()
    except Exception as error:  # nibabel raises whatever its parser stumbles over
        raise InputError(f"Cannot read {path}: it is not a valid NIfTI or MGH image.") from error
    if stored.names is not None:
        raise InputError(f"{path} is a colour image: convert it to one channel first.")
    if stored.kind == "c":
        raise InputError(f"{path} holds complex numbers: save their magnitude first.")
    shape = _three_axes(shape, path)
    slope, intercept = getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)
    scaled = (slope, intercept) != (1.0, 0.0)
    dtype = np.dtype(np.float32) if scaled or (stored.kind == "f" and stored.itemsize > 8) else stored.newbyteorder("=")

    def load() -> NDArray[Any]:
        # Scale factors have 32 bits, scaled integers 16: float32 holds all there is.
        array = np.asarray(image.dataobj, dtype=np.float32 if scaled else None)
        return np.asarray(array.reshape(shape, order="F").astype(dtype, copy=False))

    name = "MGH" if path.name.lower().endswith((".mgh", ".mgz")) else "NIfTI"
    return Opened(Header(_grid(shape, _affine_mm(image), path), dtype, name), load)


def _affine_mm(image: Any) -> NDArray[np.float64]:
    """IJK to RAS of a nibabel image, mm, whatever the unit of the file."""
    units = getattr(image.header, "get_xyzt_units", None)
    try:
        scale = 1.0 if units is None else _MILLIMETRES.get(units()[0], 1.0)
    except KeyError:  # a number that stands for no unit
        scale = 1.0
    return np.asarray(np.diag([scale, scale, scale, 1.0]) @ image.affine)


def _open_itk(path: Path) -> Opened:
    import SimpleITK

    from PWSegmentationLib.volume.dicom_slices import quiet

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(
            f"Cannot read {path}: it is not a readable NIfTI, NRRD, MHA or DICOM image, or a part of it is missing."
        ) from error
    if reader.GetNumberOfComponents() > 1:
        raise InputError(
            f"{path} has {reader.GetNumberOfComponents()} values per voxel (a colour image, a vector field or "
            "overlapping segments): convert it to one channel first."
        )
    size = reader.GetSize()
    shape = _three_axes(size, path)
    affine = itk_affine(reader.GetSpacing(), reader.GetDirection(), reader.GetOrigin())

    def load() -> NDArray[Any]:
        array = SimpleITK.GetArrayFromImage(reader.Execute())
        return np.asarray(array.T.reshape(shape, order="F"))

    dtype = itk_dtype(reader.GetPixelID())
    return Opened(Header(_grid(shape, affine, path), dtype, path.suffix.lstrip(".").upper() or "image"), load)


def itk_affine(spacing: Any, direction: Any, origin: Any) -> NDArray[np.float64]:
    """IJK to RAS of an ITK image (of three axes or, the rest being dropped, more)."""
    axes = len(spacing)
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(direction, (axes, axes)) * np.asarray(spacing))[:3, :3]
    affine[:3, 3] = np.asarray(origin)[:3]
    return np.asarray(RAS_TO_LPS @ affine)


def itk_dtype(pixel_id: int) -> np.dtype[Any]:
    """The array type of a SimpleITK pixel type."""
    import SimpleITK

    return np.dtype(SimpleITK.GetArrayViewFromImage(SimpleITK.Image([1, 1, 1], pixel_id)).dtype)


def _grid(shape: tuple[int, int, int], affine: NDArray[np.float64], path: Path) -> Grid:
    """The grid of a file; an `InputError` that names it if there can be none."""
    try:
        return Grid(shape, affine)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _three_axes(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    """``shape`` without trailing axes of length one; an `InputError` unless three axes are left."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        axes = " × ".join(str(n) for n in shape)
        raise InputError(f"{path} has {len(shape)} axes ({axes}): extract one time point or channel first.")
    if len(shape) < 3:
        raise InputError(f"{path} is a {len(shape)}D image: a volume is needed.")
    return (int(shape[0]), int(shape[1]), int(shape[2]))
