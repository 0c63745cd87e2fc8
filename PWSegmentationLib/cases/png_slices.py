"""Labels as a folder of PNG slices beside a folder of DICOM slices, with the grey values of CHAOS."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.grid import RAS_TO_LPS, Grid

# By label value: the grey values that CHAOS's own evaluation counts as it.
_GREYS = {1: (55, 70), 2: (110, 135), 3: (175, 200), 4: (240, 255)}


def holds_pictures(path: Path) -> bool:
    """Whether labels are such a folder, or an empty one, which can have been no other."""
    if not path.is_dir():
        return False
    endings = {p.suffix.lower() for p in path.iterdir()}
    return not endings or ".png" in endings


def read_pictures(folder: Path, image: Path, grid: Grid, name: str) -> NDArray[np.int32]:
    """The labelmap ``[i, j, k]`` in ``folder`` on ``grid``, that of the DICOM slices in ``image``.

    Raises `InputError`, with the case's ``name``, if the two do not belong together or a grey value is no organ.
    """
    pictures = sorted(folder.glob("*.png"), key=_natural)
    out = np.zeros(grid.shape, np.int32)
    positions = _slice_positions(image, grid)
    places = [positions.get(p.stem) for p in pictures]
    if len(pictures) != len(positions):
        raise InputError(
            f"The labels of '{name}' have {len(pictures)} slices and its image has {len(positions)}: complete "
            "the download."
        )
    if None in places or len(set(places)) != len(places):
        # The two phases of T1DUAL share one set of pictures, named after one of them.
        places = [positions[stem] for stem in sorted(positions, key=_natural)]
    for picture, place in zip(pictures, places, strict=True):
        assert place is not None
        out[:, :, place] = _picture_labels(picture, grid, name)
    return out


def _picture_labels(picture: Path, grid: Grid, name: str) -> NDArray[np.int32]:
    """One slice ``[i, j]``."""
    import SimpleITK

    grey = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(picture)))
    grey = grey[..., 0] if grey.ndim == 3 else grey
    if grey.T.shape != grid.shape[:2]:
        raise InputError(
            f"The label {picture} of '{name}' is {grey.shape[1]} × {grey.shape[0]} pixels and its image "
            f"{grid.shape[0]} × {grid.shape[1]}: they do not belong together."
        )
    out = np.zeros(grey.shape, np.int32)
    for value, (low, high) in _GREYS.items():
        out[(grey >= low) & (grey <= high)] = value
    strange = np.unique(grey[(out == 0) & (grey != 0)])
    if strange.size:
        raise InputError(
            f"The label {picture} of '{name}' holds the grey value {strange[0]}, which is no organ of CHAOS: "
            "download it again."
        )
    return out.T


def _slice_positions(folder: Path, grid: Grid) -> dict[str, int]:
    """The index k of every DICOM file in ``folder``, by its name without the ending."""
    import SimpleITK

    places = {}
    for file in folder.iterdir():
        if file.suffix.lower() not in (".dcm", ".ima"):
            continue
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
        position = np.array([*reader.GetOrigin()[:3], 1.0])
        places[file.stem] = int(grid.to_voxel((RAS_TO_LPS @ position)[:3])[2])
    return places


def _natural(path: Path | str) -> list[object]:
    """Sort key: numbers in names by their value, and the same whether a path or a name."""
    name = path.stem if isinstance(path, Path) else path
    return [int(w) if w.isdigit() else w for w in re.split(r"(\d+)", name)]
