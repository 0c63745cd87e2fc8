"""Where the simulated annotator puts its prompts: those a radiologist would place for a known structure.

Deterministic for a given seed. Everything here is in voxel indices ``[i, j, k]`` of the mask, spacing in mm.
Which prompts are placed when, and what becomes of them in patient space, is in `annotator.protocols`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.masks import depth_mm

Mask: TypeAlias = NDArray[np.bool_]
Voxels: TypeAlias = NDArray[np.int64]

# Clicks outside fall into this shell around the structure, mm.
_SHELL_MM = (4.0, 16.0)
# Clicks inside keep this far from the border, mm, or this share of the structure's half thickness if less.
_INTERIOR_MM, _INTERIOR_SHARE = 4.0, 0.35
# A box is so much larger than the structure on each side, mm.
_BOX_MARGIN_MM = 3.0


def centre(mask: Mask, spacing: Sequence[float] | NDArray[np.float64]) -> tuple[Voxels, NDArray[np.float64]]:
    """The voxel furthest inside, and every voxel's distance to the border, mm (the array's faces are border)."""
    depth = depth_mm(mask, spacing)
    return np.array(np.unravel_index(depth.argmax(), mask.shape)), depth


def points(
    mask: Mask, spacing: Sequence[float] | NDArray[np.float64], inside: int, outside: int, seed: int = 0
) -> tuple[Voxels, Voxels]:
    """Clicks inside (the centre first, then spread over the interior) and outside, 4–16 mm from the border.

    Returns two ``(n, 3)`` arrays of voxels; fewer than asked for where there is no room.
    """
    spacing = np.asarray(spacing, dtype=float)
    middle, depth = centre(mask, spacing)
    interior = np.argwhere(depth > min(_INTERIOR_SHARE * depth.max(), _INTERIOR_MM))
    first = int(np.abs(interior - middle).sum(axis=1).argmin())
    positive = interior[spread(interior * spacing, inside, first)]
    if not outside:
        return positive, np.zeros((0, 3), int)
    region = _grown(mask, np.ceil(20 / spacing).astype(int))
    away = ndimage.distance_transform_edt(~mask[region.slices], sampling=spacing)
    shell = np.argwhere((away > _SHELL_MM[0]) & (away < _SHELL_MM[1])) + region.start
    # A subset is enough to spread a few clicks, and keeps large organs cheap.
    shell = shell[np.random.default_rng(seed).permutation(len(shell))[:20000]]
    return positive, shell[spread(shell * spacing, outside, 0)] if len(shell) else np.zeros((0, 3), int)


def box(mask: Mask, spacing: Sequence[float]) -> Region:
    """A loose bounding box."""
    return _grown(mask, np.ceil(_BOX_MARGIN_MM / np.asarray(spacing, dtype=float)).astype(int))


def scribbles(
    mask: Mask,
    spacing: Sequence[float] | NDArray[np.float64],
    *,
    through: Voxels | None = None,
    axes: Sequence[int] = (0, 1, 2),
) -> NDArray[np.uint8]:
    """Strokes on slices: 1 half way inside, 2 a ring 6 mm outside, 0 elsewhere.

    The slices lie across ``axes`` and go ``through`` a voxel of the structure; None: its centre.
    """
    spacing = np.asarray(spacing, dtype=float)
    middle = centre(mask, spacing)[0] if through is None else through
    strokes = np.zeros(mask.shape, np.uint8)
    for axis in axes:
        where = tuple(int(middle[a]) if a == axis else slice(None) for a in range(3))
        section, pixel = mask[where], np.delete(spacing, axis)
        depth = ndimage.distance_transform_edt(section, sampling=pixel)
        away = ndimage.distance_transform_edt(~section, sampling=pixel)
        width = 1.5 * pixel.max()
        painted = strokes[where]
        painted[(away > 6) & (away < 6 + width)] = 2
        painted[(depth > 0.5 * depth.max()) & (depth < 0.5 * depth.max() + width)] = 1
    return strokes


def next_click(prediction: Mask, mask: Mask, spacing: Sequence[float]) -> tuple[Voxels, bool] | None:
    """The corrective click of the CVPR 2025 interactive challenge: the centre of the largest error.

    Returns the voxel and whether it belongs to the structure; None where nothing is wrong.
    """
    errors, count = ndimage.label(prediction != mask)
    if count == 0:
        return None
    number = 1 + int(ndimage.sum_labels(errors > 0, errors, range(1, count + 1)).argmax())
    # Its bounding box alone: what is outside the component does not count anyway.
    box = ndimage.find_objects(errors)[number - 1]
    within, _ = centre(errors[box] == number, spacing)
    voxel = within + [s.start for s in box]
    return voxel, bool(mask[tuple(voxel)])


def jitter(count: int, radius_mm: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """How far a hand misses: ``(count, 3)`` mm, uniform in a ball of ``radius_mm``."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.asarray(direction * radius_mm * rng.random((count, 1)) ** (1 / 3))


def spread(positions: NDArray[np.float64], count: int, first: int) -> list[int]:
    """Farthest-point sampling from ``first``: indices of ``count`` of ``positions`` ``(n, 3)``."""
    chosen = [first]
    distance = np.linalg.norm(positions - positions[first], axis=1)
    while len(chosen) < min(count, len(positions)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(positions - positions[chosen[-1]], axis=1))
    return chosen


def _grown(mask: Mask, voxels: Voxels) -> Region:
    """The bounding box of ``mask``, grown by ``voxels`` per axis within the array."""
    region = Region.around(mask)
    assert region is not None, "an empty mask has no prompts"
    return region.grown(voxels).intersection(Region.whole(mask.shape))
