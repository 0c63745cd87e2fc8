"""What can be told of a segment without knowing the truth: size, surface, parts, how sure the answer was."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import SphericalVoronoi

from PWSegmentationLib.segments.segmentation import Segment
from PWSegmentationLib.volume.grid import Grid, Region

# Voxels that touch with a face, an edge or a corner are of one part.
_TOUCHING = np.ones((3, 3, 3), bool)
# A part below this share of the segment, or this few voxels, is dust and no component.
_DUST_SHARE, _DUST_VOXELS = 0.002, 3
_SLICES = 3


@dataclass(frozen=True)
class Measures:
    """Figures of one segment.

    Parameters
    ----------
    voxels, volume_ml
        Its size.
    surface_mm2
        Area of its surface.
    components
        Parts that do not touch, dust left out; ``dust`` counts the rest.
    largest_share
        Share of the voxels that is in the largest part.
    confidence
        Mean over its voxels of the probability that they are inside, 0 to 1; None without a probability.
    expected_dice
        The Dice that the probability itself expects of this mask; None without a probability.
    uncertain_slices
        Indices k of the slices with most uncertainty, worst first.
    """

    voxels: int
    volume_ml: float
    surface_mm2: float
    components: int
    dust: int
    largest_share: float
    confidence: float | None = None
    expected_dice: float | None = None
    uncertain_slices: tuple[int, ...] = ()


def measure(
    segment: Segment,
    grid: Grid,
    probability: NDArray[np.floating] | None = None,
    uncertainty: NDArray[np.floating] | None = None,
) -> Measures:
    """Measure a segment on ``grid``; the maps are ``[i, j, k]`` over the whole grid."""
    if segment.voxels == 0:
        return Measures(0, 0.0, 0.0, 0, 0, 0.0)
    sizes = component_sizes(segment.mask)
    least = max(_DUST_VOXELS, _DUST_SHARE * sizes.sum())
    large = int(np.count_nonzero(sizes > least)) or 1
    voxels = int(sizes.sum())
    return Measures(
        voxels=voxels,
        volume_ml=voxels * grid.voxel_volume / 1000.0,
        surface_mm2=surface_mm2(segment.mask, grid),
        components=large,
        dust=len(sizes) - large,
        largest_share=float(sizes.max() / voxels),
        confidence=None if probability is None else float(probability[segment.region.slices][segment.mask].mean()),
        expected_dice=None if probability is None else expected_dice(segment, probability),
        uncertain_slices=() if uncertainty is None else uncertain_slices(uncertainty),
    )


def component_sizes(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Voxels of each part of a mask ``[i, j, k]``."""
    parts, count = ndimage.label(mask, structure=_TOUCHING)
    return np.bincount(parts.ravel(), minlength=count + 1)[1:].astype(np.int64)


def surface_mm2(mask: NDArray[np.bool_], grid: Grid) -> float:
    """Area of a mask's surface, mm², without the steps that voxels have: Crofton's formula in 13 directions.

    The surface is twice the mean, over all directions, of how often lines cross it per area. Each direction counts as
    much as its share of the sphere (its Voronoi cell), so that spacing and shear are accounted for.
    """
    padded = np.pad(mask, 1)
    steps = np.array([s for s in itertools.product((-1, 0, 1), repeat=3) if s > (0, 0, 0)])
    world = steps @ grid.affine[:3, :3].T
    lengths = np.linalg.norm(world, axis=1)
    both = np.concatenate([world, -world]) / np.concatenate([lengths, lengths])[:, None]
    shares = SphericalVoronoi(both).calculate_areas()[: len(steps)] / (2.0 * np.pi)
    crossed = [np.count_nonzero(_shifted(padded, step) != _shifted(padded, -step)) for step in steps]
    return float(2.0 * np.sum(shares * np.array(crossed) * grid.voxel_volume / lengths))


def _shifted(array: NDArray[np.bool_], step: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The part of ``array`` whose voxels have a neighbour ``step`` away."""
    return array[tuple(slice(max(0, -s), -s if s > 0 else None) for s in step)]


def expected_dice(segment: Segment, probability: NDArray[np.floating]) -> float:
    """2 Σ p·m / (Σ p + Σ m): the Dice to expect if the probability is right; 1 where both are empty."""
    inside = float(probability[segment.region.slices][segment.mask].sum(dtype=np.float64))
    total = float(probability.sum(dtype=np.float64)) + segment.voxels
    return 2.0 * inside / total if total else 1.0


def uncertain_slices(uncertainty: NDArray[np.floating], count: int = _SLICES) -> tuple[int, ...]:
    """The slices k that hold most uncertainty, worst first, no two of them neighbours."""
    doubt = uncertainty.sum(axis=(0, 1), dtype=np.float64)
    found: list[int] = []
    while len(found) < count and doubt.max(initial=0.0) > 0:
        worst = int(doubt.argmax())
        found.append(worst)
        doubt[max(0, worst - 1) : worst + 2] = 0.0
    return tuple(found)


def thickness_mm(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """Of every voxel of a mask the distance to the border, mm, as an array of the mask's shape."""
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1), sampling=grid.spacing)[1:-1, 1:-1, 1:-1])


def touched_faces(segment: Segment, grid: Grid) -> tuple[str, ...]:
    """The faces of the image that the segment reaches, as "first k", "last i", ..."""
    whole = Region.whole(grid.shape)
    faces = []
    for axis, letter in enumerate("ijk"):
        if segment.region.start[axis] == 0 and segment.mask[(slice(None),) * axis + (0,)].any():
            faces.append(f"first {letter}")
        if segment.region.stop[axis] == whole.stop[axis] and segment.mask[(slice(None),) * axis + (-1,)].any():
            faces.append(f"last {letter}")
    return tuple(faces)
