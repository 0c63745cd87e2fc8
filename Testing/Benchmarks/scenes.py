"""An object in noise, the same wherever it stands, and clicks on it."""

from __future__ import annotations

import numpy as np

from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts
from PWSegmentationLib.volume.volume import Volume

#: Semi-axes of something like a kidney, mm.
KIDNEY = (22.0, 20.0, 36.0)

Triple = tuple[float, float, float]
_PERIOD = 64


def organ_in_noise(shape: tuple[int, int, int], radii: Triple) -> Volume:
    """A bright ellipsoid at world (0, 0, 0) of an int16 volume of 1 mm voxels; every voxel differs by noise.

    The noise repeats and is the same around the object in a volume of any shape.
    """
    center = np.array(shape) // 2
    noise = np.rint(60 + 15 * np.random.default_rng(0).standard_normal((_PERIOD,) * 3)).astype(np.int16)
    at = [(np.arange(n) - c) % _PERIOD for n, c in zip(shape, center, strict=True)]
    planes = noise[:, at[1]][:, :, at[2]]
    array = np.empty(shape, np.int16)
    for i, plane in enumerate(at[0]):
        array[i] = planes[plane]
    array[organ_mask(shape, radii)] += 120
    affine = np.eye(4)
    affine[:3, 3] = -center
    return Volume.from_array(array, affine)


def organ_mask(shape: tuple[int, int, int], radii: Triple) -> np.ndarray:
    """Which voxels of that volume belong to the object."""
    center = np.array(shape) // 2
    reach = [min(int(r) + 2, c) for r, c in zip(radii, center, strict=True)]
    squares = [(np.arange(-r, r) / radius) ** 2 for r, radius in zip(reach, radii, strict=True)]
    mask = np.zeros(shape, bool)
    around = tuple(slice(c - r, c + r) for c, r in zip(center, reach, strict=True))
    mask[around] = squares[0][:, None, None] + squares[1][:, None] + squares[2] <= 1
    return mask


def clicks_on(radii: Triple) -> SegmentPrompts:
    """Four clicks inside, and six that enclose the object."""
    a, _, c = radii
    inside = [(0.0, 0.0, 0.0), (0.0, 0.0, 0.7 * c), (0.0, 0.0, -0.7 * c), (0.6 * a, 0.0, 0.0)]
    outside = [
        tuple(sign * (1.15 * r + 5.0) * (n == axis) for n in range(3))
        for axis, r in enumerate(radii)
        for sign in (1, -1)
    ]
    points = [Point(p) for p in inside] + [Point(p, False) for p in outside]  # type: ignore[arg-type]
    return SegmentPrompts("organ", points=tuple(points))


def more_clicks(radii: Triple, count: int) -> list[Triple]:
    """Further clicks, all different, well inside: none changes the region that the prompts are about."""
    away = np.random.default_rng(1).uniform(-0.45, 0.45, (count, 3)) * radii
    return [(float(x), float(y), float(z)) for x, y, z in away]
