"""The voxels of DICOM slices, through SimpleITK (GDCM), rescaled slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.volume.dicom_slices import Slice, information, mirror_of, quiet, refuse_undecodable
from PWSegmentationLib.volume.reading import itk_dtype


def stack_dtype(slices: Sequence[Slice]) -> np.dtype[Any]:
    """The type in which `read_stack` returns them: the files', or float32 where these are stored in several ways."""
    alike = _scaled_alike(slices) and len({s.pixel_id for s in slices}) == 1
    return kept(itk_dtype(slices[0].pixel_id)) if alike else np.dtype(np.float32)


def frames_dtype(slices: Sequence[Slice]) -> np.dtype[Any]:
    """The type in which `read_frame_voxels` returns the frames of one file."""
    if _scaled_alike(slices):
        return kept(itk_dtype(information(slices[0].file).GetPixelID()))
    return np.dtype(np.float32)


def read_frame_voxels(slices: Sequence[Slice]) -> NDArray[Any]:
    """The voxels ``[i, j, k]`` of frames of one file, in the order of ``slices``."""
    first = next(s.rescale for s in slices if s.frame == 0)
    with quiet():
        reader = information(slices[0].file)
        frames = _voxels(reader, slices[0].file)
    frames = frames.reshape(-1, *frames.shape[-2:])
    for frame in frames:
        _turn_back(frame, mirror_of(reader, first))
    order = [s.frame for s in slices]
    if order != list(range(len(frames))):
        frames = frames[order]
    if not _scaled_alike(slices):
        # GDCM has scaled all frames as the first of the file.
        slope, intercept = first
        wanted = np.array([s.rescale for s in slices])[:, :, None, None]
        frames = (frames - intercept) / slope * wanted[:, 0] + wanted[:, 1]
        frames = frames.astype(np.float32)
    return shrunk(frames).T


def read_stack(slices: Sequence[Slice]) -> NDArray[Any]:
    """The voxels ``[i, j, k]`` of files with one slice each."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    # As headers are read: files that do not start as those of DICOM do are not recognised.
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([s.file for s in slices])
    if stack_dtype(slices) == np.float32:
        # Else the type of the first file is that of all, and rounds what does not fit into it.
        reader.SetOutputPixelType(SimpleITK.sitkFloat32)
    with quiet():
        stack = shrunk(_voxels(reader, slices[0].file))
    for plane, one in zip(stack, slices, strict=True):
        _turn_back(plane, one.mirror)
    return stack.T


def _voxels(reader: Any, file: str) -> NDArray[Any]:
    """What a SimpleITK reader reads; ``file`` is one of its files."""
    import SimpleITK

    try:
        return np.asarray(SimpleITK.GetArrayFromImage(reader.Execute()))
    except RuntimeError:
        refuse_undecodable(file)
        raise


def _turn_back(plane: NDArray[Any], mirror: float | None) -> None:
    """Values of one slice as they are stored, in place (`mirror_of`)."""
    if mirror is not None:
        plane[...] = mirror - plane.astype(np.float64)


def _scaled_alike(slices: Sequence[Slice]) -> bool:
    return len({s.rescale for s in slices}) == 1


def kept(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float64 is what GDCM rescales into; the values need no more than float32."""
    return np.dtype(np.float32) if dtype == np.float64 else dtype


def shrunk(array: NDArray[Any]) -> NDArray[Any]:
    """``array`` in the type that is `kept`."""
    return array.astype(kept(array.dtype), copy=False)
