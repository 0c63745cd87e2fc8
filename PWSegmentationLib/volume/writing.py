"""Arrays on a grid as image files: NIfTI, NRRD, MHA. Grids of any orientation come back as they were.

Every file is replaced at once or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import replacing
from PWSegmentationLib.volume.grid import RAS_TO_LPS, Grid

IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")


def check_ending(path: str | Path, endings: Sequence[str]) -> str:
    """The one of ``endings`` that ``path`` has; an `InputError` that lists them if it has none."""
    name = Path(path).name.lower()
    for ending in endings:
        if name.endswith(ending):
            if name == ending:
                raise InputError(f"The output {path} has no name before its ending.")
            return ending
    raise InputError(f"The output {path} has an unknown ending; known are {', '.join(endings)}.")


def write_image(array: NDArray[Any], grid: Grid, path: str | Path) -> None:
    """Write ``array`` ``[i, j, k]`` as ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha``."""
    ending = check_ending(path, IMAGE_ENDINGS)
    with replacing(path) as temporary:
        write_image_to(array, grid, temporary, ending)


def write_image_to(array: NDArray[Any], grid: Grid, path: Path, ending: str) -> None:
    """`write_image` into a file that nobody looks at yet; ``ending`` is one of `IMAGE_ENDINGS`."""
    if array.dtype == bool:
        array = array.view(np.uint8)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if ending.startswith(".nii"):
        _write_nifti(array, grid, path)
    else:
        _write_itk(array, grid, path)


def _write_itk(array: NDArray[Any], grid: Grid, path: Path) -> None:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(array.T)
    affine = RAS_TO_LPS @ grid.affine
    image.SetSpacing(grid.spacing)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
    try:
        # The fastest level: label and probability maps are mostly runs of one value.
        SimpleITK.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    except RuntimeError as error:
        raise OSError(f"the image could not be written ({str(error).splitlines()[-1].strip()})") from error


def _write_nifti(array: NDArray[Any], grid: Grid, path: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(array, grid.affine)
    # Code 1, scanner coordinates, in both: readers that look at only one of them agree.
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine, code=1, strip_shears=True)
    if not np.allclose(image.get_qform(), grid.affine, atol=1e-3 * min(grid.spacing)):
        # A sheared grid has no quaternion.
        image.set_qform(None, code=0)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
