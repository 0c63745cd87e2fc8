"""A structure of a real image, distorted: turned, bent, on other voxels, in thick slices and other contrasts.

Few images may be learnt from, and whoever sees them as they are, again and again, learns them by heart.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.procedural.artefacts import thickened
from PWSegmentationLib.procedural.noise import smooth
from PWSegmentationLib.procedural.shapes import rotation
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.intensity import robust_range
from PWSegmentationLib.volume.volume import Volume

# Surroundings that come along, mm.
_SURROUNDINGS_MM = (40.0, 110.0)
_MOST_VOXELS = 4_000_000
# Turned by about this share of a whole turn about any axis; sheared and stretched by this much.
_TURNED, _SHEARED = 0.12, 0.06
# A bend of this share of the image's extent at most, over this share of it.
_BENT, _BEND = 0.03, 0.3
_THICK = 0.25


def distorted(volume: Volume, reference: Reference, rng: np.random.Generator) -> tuple[Volume, Reference] | None:
    """The structure and its surroundings as another patient on another scanner might show them.

    None where nothing is left of the structure. Voxels without a measurement are NaN.
    """
    spacing = np.array(volume.grid.spacing)
    reach = np.ceil(rng.uniform(*_SURROUNDINGS_MM) / spacing).astype(int)
    region = reference.region.grown(reach).intersection(Region.whole(volume.grid.shape))
    part = volume.crop(region)
    new_spacing, shape = _new_grid(spacing, part.grid.shape, rng)
    values, known = part.measured()
    where = _places(spacing, part.grid.shape, new_spacing, shape, rng)
    image = _sampled(_recoloured(values, known, rng), where, "bilinear")
    labels = _sampled(reference.over(region).astype(np.float32), where, "nearest").astype(np.uint8)
    measured = _sampled(known.astype(np.float32), where, "nearest") > 0.5
    image = image + np.float32(rng.uniform(0.0, 0.05) * rng.random()) * rng.standard_normal(shape, dtype=np.float32)
    image[~measured] = np.nan
    if rng.random() < _THICK:
        axis, factor = int(rng.integers(3)), int(rng.integers(2, 5))
        image, labels = thickened(image, labels, axis, factor)
        new_spacing[axis] *= factor
    if not labels.any() or not np.isfinite(image).any():
        return None
    grid = Grid((image.shape[0], image.shape[1], image.shape[2]), np.diag([*new_spacing, 1.0]))
    return Volume(image, grid), Reference.of(labels, (1,), grid)


def _new_grid(
    spacing: NDArray[np.float64], shape: tuple[int, int, int], rng: np.random.Generator
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Voxel size and shape to sample on: like the scanner's, or isotropic."""
    if rng.random() < 0.5:
        new_spacing = spacing * rng.uniform(0.8, 1.5, 3)
    else:
        new_spacing = np.full(3, float(np.prod(spacing)) ** (1 / 3) * rng.uniform(0.7, 1.5))
    extent = spacing * np.array(shape)
    new_spacing = new_spacing * max(1.0, float(np.prod(extent / new_spacing)) / _MOST_VOXELS) ** (1 / 3)
    count = np.maximum(np.round(extent / new_spacing).astype(int), 4)
    return new_spacing, (int(count[0]), int(count[1]), int(count[2]))


def _places(
    spacing: NDArray[np.float64],
    shape: tuple[int, int, int],
    new_spacing: NDArray[np.float64],
    wanted: tuple[int, int, int],
    rng: np.random.Generator,
) -> torch.Tensor:
    """Where in the source each new voxel comes from, as `grid_sample` wants it: ``(1, i, j, k, 3)``."""
    extent = spacing * np.array(shape)
    turned = np.linalg.qr(np.eye(3) + _TURNED * rng.random() * (rotation(rng) - rotation(rng)))[0]
    turned = turned * np.sign(np.diag(turned))
    matrix = turned @ (np.diag(rng.uniform(0.85, 1.2, 3)) + _SHEARED * rng.normal(size=(3, 3)))
    axes = [(np.arange(n) - 0.5 * (n - 1)) * s for n, s in zip(wanted, new_spacing, strict=True)]
    here = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)
    there = here @ matrix.T.astype(np.float32)
    bend = _BENT * rng.random() * extent
    cell = _BEND * float(max(extent / new_spacing))
    for axis in range(3):
        there[..., axis] += np.float32(bend[axis]) * smooth(rng, wanted, cell)
    # From mm around the middle to [−1, 1] between the outermost voxels' centres; the last axis of the image first.
    there /= (0.5 * np.maximum(np.array(shape) - 1, 1) * spacing).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(there[..., ::-1]))[None]


def _sampled(values: NDArray[np.float32], where: torch.Tensor, mode: str) -> NDArray[np.float32]:
    """``values`` at ``where``; 0 outside."""
    source = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    return np.asarray(functional.grid_sample(source, where, mode=mode, align_corners=True)[0, 0].numpy())


def _recoloured(values: NDArray[np.float32], known: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """About [0, 1], along a random curve, in half of the cases upside down, with a bias field in some."""
    low, high = robust_range(values, known)
    out = (values - np.float32(low)) / np.float32(high - low)
    if rng.random() < 0.7:
        knots = np.linspace(0.0, 1.0, int(rng.integers(3, 7)))
        # Steep where the image is: rises may differ sixfold, and one in eight falls.
        rises = np.exp(rng.uniform(-0.9, 0.9, len(knots) - 1)) * np.where(rng.random(len(knots) - 1) < 0.12, -1, 1)
        heights = np.concatenate([[0.0], np.cumsum(rises)])
        out = np.interp(out, knots, heights / max(np.ptp(heights), 1e-3)).astype(np.float32)
    if rng.random() < 0.3:
        field = smooth(rng, out.shape, 0.6 * max(out.shape))
        out = out * np.exp(np.float32(rng.uniform(0.0, 0.25)) * field)
    return -out if rng.random() < 0.5 else out
