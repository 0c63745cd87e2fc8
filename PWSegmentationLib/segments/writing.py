"""Segments and maps as files: Slicer segmentations, labelmaps, images of numbers.

Every file is replaced at once or not at all. Grids of any orientation come back as they were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import replacing
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.segments.colors import Color, color
from PWSegmentationLib.segments.seg_nrrd import SegmentEntry, write_seg_nrrd
from PWSegmentationLib.volume.grid import RAS_TO_LPS, Grid, Region

SEGMENTATION_ENDINGS = (".seg.nrrd",)
IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")


@dataclass
class _Layer:
    """Segments that share no voxel, in one array ``[i, j, k]``, i fastest, as files have it."""

    labels: NDArray[Any]

    def is_free(self, region: Region, mask: NDArray[np.bool_]) -> bool:
        return not self.labels[region.slices][mask].any()

    def paint(self, region: Region, mask: NDArray[np.bool_], value: int) -> None:
        self.labels[region.slices][mask] = value


def check_ending(path: str | Path, endings: Sequence[str] = SEGMENTATION_ENDINGS + IMAGE_ENDINGS) -> str:
    """The one of ``endings`` that ``path`` has; an `InputError` that lists them if it has none."""
    name = Path(path).name.lower()
    for ending in endings:
        if name.endswith(ending):
            if name == ending:
                raise InputError(f"The output {path} has no name before its ending.")
            return ending
    raise InputError(f"The output {path} has an unknown ending; known are {', '.join(endings)}.")


def write_segments(
    predictions: Mapping[str, Prediction],
    grid: Grid,
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    colors: Mapping[str, Color] | None = None,
) -> tuple[Path, ...]:
    """Write segments to a file whose ending says how.

    ``.seg.nrrd``
        A Slicer segmentation with names and colours. Segments may overlap: they then are on several layers.
    ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``
        A labelmap in which the k-th segment, from 1, has the value k, and a side-car ``NAME.labels.json``,
        ``{"liver": 1, ...}``, beside it. Segments may not overlap.

    Parameters
    ----------
    predictions
        By segment name, all on ``grid``.
    names
        The segments and their order; one without a prediction keeps its number and is empty. By default the order
        of ``predictions``.
    colors
        Red, green, blue in [0, 1] by name; the others get one of `PWSegmentationLib.segments.colors`.

    Returns
    -------
    The files written.

    Raises
    ------
    InputError
        If the ending is unknown or segments overlap in a labelmap.
    """
    path = Path(path)
    ending = check_ending(path)
    names = list(predictions) if names is None else list(names)
    single = ending not in SEGMENTATION_ENDINGS
    layers, layer_of = _layers(predictions, grid, names, single=single)
    if not single:
        with replacing(path) as temporary:
            entries = _entries(predictions, grid, names, layer_of, colors or {})
            write_seg_nrrd(temporary, [layer.labels for layer in layers], grid, entries)
        return (path,)
    write_image(layers[0].labels, grid, path)
    side_car = path.with_name(path.name[: -len(ending)] + ".labels.json")
    with replacing(side_car) as temporary:
        labels = {name: value for value, name in enumerate(names, start=1)}
        temporary.write_text(json.dumps(labels, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path, side_car


def write_image(array: NDArray[Any], grid: Grid, path: str | Path) -> None:
    """Write ``array`` ``[i, j, k]`` as ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha``."""
    path = Path(path)
    ending = check_ending(path, IMAGE_ENDINGS)
    if array.dtype == bool:
        array = array.view(np.uint8)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    with replacing(path) as temporary:
        if ending.startswith(".nii"):
            _write_nifti(array, grid, temporary)
        else:
            _write_itk(array, grid, temporary)


def _layers(
    predictions: Mapping[str, Prediction], grid: Grid, names: Sequence[str], *, single: bool
) -> tuple[list[_Layer], dict[str, int]]:
    """The segments on as few layers as they need, each with its number as its value, and the layer of each."""
    dtype = np.uint8 if len(names) < 256 else np.uint16
    layers = [_Layer(np.zeros(grid.shape, dtype, order="F"))]
    layer_of = dict.fromkeys(names, 0)
    for value, name in enumerate(names, start=1):
        if name not in predictions:
            continue
        region, mask = predictions[name].region, predictions[name].region_mask
        index = next((n for n, layer in enumerate(layers) if layer.is_free(region, mask)), len(layers))
        if index > 0 and single:
            raise InputError(f"Segment '{name}' overlaps another one, which a labelmap cannot hold: write .seg.nrrd.")
        if index == len(layers):
            layers.append(_Layer(np.zeros(grid.shape, dtype, order="F")))
        layers[index].paint(region, mask, value)
        layer_of[name] = index
    return layers, layer_of


def _entries(
    predictions: Mapping[str, Prediction],
    grid: Grid,
    names: Sequence[str],
    layer_of: Mapping[str, int],
    colors: Mapping[str, Color],
) -> list[SegmentEntry]:
    whole = Region.whole(grid.shape)
    extents = [predictions[name].region if name in predictions else whole for name in names]
    return [
        SegmentEntry(name, colors.get(name, color(index)), index + 1, layer_of[name], extents[index])
        for index, name in enumerate(names)
    ]


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
