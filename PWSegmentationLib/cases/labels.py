"""The labelmaps of a case: read, checked, and brought to one value per structure where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.cases.png_slices import holds_pictures, read_pictures
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.reading import read_volume
from PWSegmentationLib.volume.resampling import resample
from PWSegmentationLib.volume.volume import Volume

# A file that scales its numbers may miss the whole ones by this much.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Case:
    """A labelled image in memory: ``labels`` is on the image's grid, ``structures`` gives each one's values."""

    name: str
    volume: Volume
    labels: NDArray[np.int32]
    structures: Mapping[str, tuple[int, ...]]


def load_case(files: CaseFiles) -> Case:
    """Image and labels, which may lie on another grid; values without names are structures "label 1", ...

    Raises `InputError` with one sentence if the case cannot be used.
    """
    if files.problem:
        raise InputError(files.problem)
    volume = read_volume(files.image)
    labels = read_labels(files, volume.grid, resampled=True)
    if not labels.any():
        raise InputError(f"{files.labels} has no labelled voxel in the image: was it drawn on another one?")
    structures = dict(files.structures) or {f"label {v}": (int(v),) for v in np.unique(labels) if v}
    return Case(files.name, volume, labels, structures)


def read_labels(
    case: CaseFiles,
    grid: Grid,
    *,
    named: Mapping[str, tuple[int, ...]] | None = None,
    resampled: bool = False,
) -> NDArray[np.int32]:
    """The dense labelmap of a case ``[i, j, k]`` on ``grid``, its image's.

    Parameters
    ----------
    named
        Where given, every value must have a name, and the first of a structure's values stands for all of them.
    resampled
        Bring labels on another grid to this one (the nearest voxel's value, 0 beyond); else they are refused.

    Raises
    ------
    InputError
        If there are no labels or they are no labelmap, lie on another grid, or hold a value without a name.
    """
    if case.labels is None:
        raise InputError(f"The case '{case.name}' has no labels: add labels.nii.gz (or .nrrd, .mha), or remove it.")
    if holds_pictures(case.labels):
        values = read_pictures(case.labels, case.image, grid, case.name)
    else:
        labelled = read_volume(case.labels)
        values = whole_numbers(labelled.array, case.labels)
        if not labelled.grid.same_as(grid):
            if not resampled:
                raise InputError(
                    f"The labels of '{case.name}' lie on another grid than its image (shape {labelled.grid.shape} and "
                    f"{grid.shape}): resample them onto the image, or correct the file's geometry."
                )
            values = resample(values, labelled.grid, grid, order=0, outside=0.0).astype(np.int32)
    return values if named is None else _merged(values, named, f"The labels of '{case.name}'")


def read_sparse_labels(
    case: CaseFiles, path: Path, named: Mapping[str, tuple[int, ...]], background: int
) -> tuple[NDArray[np.int32], Grid]:
    """Points or scribbles of a case, on the grid of their own that they may have.

    The first of a structure's values stands for all of them. Raises `InputError` if the file is no labelmap or holds a
    value that is neither in ``named`` nor ``background``.
    """
    volume = read_volume(path)
    what = f"The {path.name} of '{case.name}'"
    return _merged(whole_numbers(volume.array, path), {**named, "background": (background,)}, what), volume.grid


def whole_numbers(array: NDArray[Any], path: Path) -> NDArray[np.int32]:
    """A labelmap's values as whole numbers, 0 where there is no number; an `InputError` if they are none."""
    if array.dtype.kind == "f":
        array = np.nan_to_num(array, nan=0.0, posinf=np.inf, neginf=-np.inf)
        whole = np.round(array)
        # Infinity less itself is no number, and so not near to 0 either.
        with np.errstate(invalid="ignore"):
            if not (np.abs(array - whole) < _ROUNDING).all():
                raise InputError(
                    f"{path} is not a labelmap: it holds numbers that are not whole; save one whole number per "
                    "structure."
                )
        array = whole
    limits = np.iinfo(np.int32)
    if array.size and not np.can_cast(array.dtype, np.int32):
        for value in (array.min(), array.max()):
            if not limits.min <= value <= limits.max:
                raise InputError(f"{path} is not a labelmap: it holds the value {value:.10g}; use small numbers.")
    return array.astype(np.int32, copy=False)


def _merged(values: NDArray[np.int32], named: Mapping[str, tuple[int, ...]], what: str) -> NDArray[np.int32]:
    """The first of each structure's values in place of the others; an `InputError` if one has no name."""
    strange = np.setdiff1d(np.unique(values), [0, *(v for several in named.values() for v in several)])
    if strange.size:
        raise InputError(
            f"{what} hold the value {strange[0]}, which has no name: add it to the names of the labels, or set those "
            "voxels to 0."
        )
    for first, *others in named.values():
        if others:
            values = np.where(np.isin(values, others), np.int32(first), values)
    return values
