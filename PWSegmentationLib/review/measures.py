"""What can be told of a segment without knowing the truth: size, surface, parts, how sure the answer was."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import SphericalVoronoi

from PWSegmentationLib.progress import finished
from PWSegmentationLib.segments.segmentation import Segment
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.masks import parts_of

# A part below this share of the segment, or this few voxels, is dust and no component.
_DUST_SHARE, _DUST_VOXELS = 0.002, 3
_SLICES = 3
# Of the patient, down and up each axis of the world.
_SIDES = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))
# Voxels that are looked at in one go: some ten milliseconds.
_STEP_VOXELS = 500_000


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


@dataclass(frozen=True, eq=False)
class Maps:
    """How sure an answer was: maps ``[i, j, k]`` over ``region`` of the grid, and 0 elsewhere; None where unknown."""

    region: Region
    probability: NDArray[np.floating] | None = None
    uncertainty: NDArray[np.floating] | None = None


def measure(segment: Segment, grid: Grid, maps: Maps | None = None) -> Measures:
    """Measure a segment on ``grid``."""
    return finished(measuring(segment, grid, maps))


def measuring(segment: Segment, grid: Grid, maps: Maps | None = None) -> Generator[None, None, Measures]:
    """`measure` in parts of some ten milliseconds each, however large the segment is."""
    if segment.voxels == 0:
        return Measures(0, 0.0, 0.0, 0, 0, 0.0)
    sizes = yield from _counting_parts(segment.mask)
    surface = yield from _measuring_surface(segment.mask, grid)
    least = max(_DUST_VOXELS, _DUST_SHARE * sizes.sum())
    large = int(np.count_nonzero(sizes > least)) or 1
    voxels = int(sizes.sum())
    confidence, dice, slices = (None, None, ()) if maps is None else (yield from _measuring_certainty(segment, maps))
    return Measures(
        voxels=voxels,
        volume_ml=voxels * grid.voxel_volume / 1000.0,
        surface_mm2=surface,
        components=large,
        dust=len(sizes) - large,
        largest_share=float(sizes.max() / voxels),
        confidence=confidence,
        expected_dice=dice,
        uncertain_slices=slices,
    )


def slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices along the first axis that hold about as many voxels as are looked at in one go."""
    thick = max(1, _STEP_VOXELS // max(1, shape[1] * shape[2]))
    return (slice(at, min(at + thick, shape[0])) for at in range(0, shape[0], thick))


def _counting_parts(mask: NDArray[np.bool_]) -> Generator[None, None, NDArray[np.int64]]:
    """Voxels of each part of a mask ``[i, j, k]``: parts of slabs, joined where they touch."""
    sizes: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
    touching: list[NDArray[np.int64]] = []
    count, last = 0, None
    for slab in slabs(mask.shape):
        parts, found = parts_of(mask[slab])
        numbers = np.where(parts[0] > 0, parts[0] + count, 0)
        if last is not None:
            touching.append(_touching_pairs(last, numbers))
        last = np.where(parts[-1] > 0, parts[-1] + count, 0)
        sizes.append(np.bincount(parts.ravel(), minlength=found + 1)[1:].astype(np.int64))
        count += found
        yield
    pairs = np.concatenate([*touching, np.zeros((0, 2), np.int64)])
    graph = sparse.coo_matrix((np.ones(len(pairs), bool), pairs.T), shape=(count + 1, count + 1))
    joined, whole = connected_components(graph, directed=False)
    # What is not inside, number 0, touches nothing and holds nothing.
    total = np.bincount(whole, weights=np.concatenate(sizes), minlength=joined).astype(np.int64)
    return np.delete(total, whole[0])


def _touching_pairs(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers ``(n, 2)`` of the parts in two neighbouring layers that touch, with an edge or a corner too."""
    padded = np.pad(other, 1)
    rows, columns = one.shape
    base = int(other.max()) + 1
    found = [np.zeros(0, np.int64)]
    for row in range(3):
        for column in range(3):
            beside = padded[row : row + rows, column : column + columns]
            both = (one > 0) & (beside > 0)
            found.append(np.unique(one[both] * base + beside[both]))
    return np.stack(np.divmod(np.unique(np.concatenate(found)), base), axis=-1)


def surface_mm2(mask: NDArray[np.bool_], grid: Grid) -> float:
    """Area of a mask's surface, mm², without the steps that voxels have: Crofton's formula in 13 directions.

    The surface is twice the mean, over all directions, of how often lines cross it per area. Each direction counts as
    much as its share of the sphere (its Voronoi cell), so that spacing and shear are accounted for.
    """
    return finished(_measuring_surface(mask, grid))


def _measuring_surface(mask: NDArray[np.bool_], grid: Grid) -> Generator[None, None, float]:
    """`surface_mm2` in parts."""
    padded = np.pad(mask, 1)
    steps = np.array([s for s in itertools.product((-1, 0, 1), repeat=3) if s > (0, 0, 0)])
    world = steps @ grid.affine[:3, :3].T
    lengths = np.linalg.norm(world, axis=1)
    both = np.concatenate([world, -world]) / np.concatenate([lengths, lengths])[:, None]
    shares = SphericalVoronoi(both).calculate_areas()[: len(steps)] / (2.0 * np.pi)
    crossed = np.zeros(len(steps))
    for slab in slabs(padded.shape):
        # One layer more, which the next slab begins with; steps within that layer are the next slab's.
        part = padded[slab.start : slab.stop + 1]
        is_last = slab.stop >= len(padded)
        for number, step in enumerate(steps):
            flat = part if is_last or step[0] else part[:-1]
            crossed[number] += np.count_nonzero(_shifted(flat, step) != _shifted(flat, -step))
        yield
    return float(2.0 * np.sum(shares * crossed * grid.voxel_volume / lengths))


def _shifted(array: NDArray[np.bool_], step: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The part of ``array`` whose voxels have a neighbour ``step`` away."""
    return array[tuple(slice(max(0, -s), -s if s > 0 else None) for s in step)]


def _measuring_certainty(
    segment: Segment, maps: Maps
) -> Generator[None, None, tuple[float | None, float | None, tuple[int, ...]]]:
    """Confidence, expected Dice and the most uncertain slices, as far as there are maps."""
    confidence = dice = None
    if maps.probability is not None:
        inside = total = 0.0
        for slab in slabs(maps.region.shape):
            total += float(maps.probability[slab].sum(dtype=np.float64))
            region = _layers(maps.region, slab)
            common = region.intersection(segment.region)
            if not common.is_empty:
                mask = segment.mask[common.relative_to(segment.region).slices]
                here = maps.probability[common.relative_to(maps.region).slices][mask]
                inside += float(here.sum(dtype=np.float64))
            yield
        voxels = segment.voxels
        confidence = inside / voxels
        # 2 Σ p·m / (Σ p + Σ m): the Dice to expect if the probability is right.
        dice = 2.0 * inside / (total + voxels)
    if maps.uncertainty is None:
        return confidence, dice, ()
    doubt = np.zeros(maps.region.shape[2])
    for slab in slabs(maps.region.shape):
        doubt += maps.uncertainty[slab].sum(axis=(0, 1), dtype=np.float64)
        yield
    return confidence, dice, tuple(k + maps.region.start[2] for k in _worst(doubt))


def _layers(region: Region, slab: slice) -> Region:
    """The part of a region that a slab of its first axis is."""
    (i, *start), (_, *stop) = region.start, region.stop
    return Region((i + slab.start, *start), (i + slab.stop, *stop))  # type: ignore[arg-type]


def _worst(doubt: NDArray[np.float64]) -> tuple[int, ...]:
    """The slices k that hold most uncertainty, worst first, no two of them neighbours."""
    found: list[int] = []
    while len(found) < _SLICES and doubt.max(initial=0.0) > 0:
        worst = int(doubt.argmax())
        found.append(worst)
        doubt[max(0, worst - 1) : worst + 2] = 0.0
    return tuple(found)


def middle(segment: Segment) -> NDArray[np.float64]:
    """The centre of a segment's voxels, as an index of the grid."""
    planes = segment.mask.sum(axis=2, dtype=np.int32), segment.mask.sum(axis=0, dtype=np.int32)
    layers = planes[0].sum(axis=1), planes[0].sum(axis=0), planes[1].sum(axis=0)
    return np.array([n @ np.arange(len(n)) / n.sum() for n in layers]) + segment.region.start


def touched_faces(segment: Segment, grid: Grid) -> tuple[str, ...]:
    """The faces of the image that the segment reaches, by the patient's sides: "inferior", "left", ..."""
    whole = Region.whole(grid.shape)
    faces = []
    for axis in range(3):
        along = grid.affine[:3, axis]
        body_axis = int(np.abs(along).argmax())
        first, last = _SIDES[body_axis][:: 1 if along[body_axis] > 0 else -1]
        if segment.region.start[axis] == 0 and segment.mask[(slice(None),) * axis + (0,)].any():
            faces.append(first)
        if segment.region.stop[axis] == whole.stop[axis] and segment.mask[(slice(None),) * axis + (-1,)].any():
            faces.append(last)
    return tuple(faces)
