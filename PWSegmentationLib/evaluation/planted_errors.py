"""Good segments made bad in ways that happen, to see whether a review notices.

Every error is planted into a reference; the same seed plants the same one. An error is worth finding if a fifth of the
reference's voxels differ at least.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.volume import Volume

# Share of the reference's voxels that a leak adds, and that a missing part takes away.
_LEAK, _MISSING = (0.25, 0.6), (0.2, 0.45)
# How far a shift moves, mm; and the least share of voxels that must differ.
_SHIFT_MM, _LEAST_WRONG = (8.0, 25.0), 0.2
# A leak reaches no further than this from where it began, mm.
_REACH_MM = 60.0


class Planted(NamedTuple):
    """A wrong segment: ``mask`` ``[i, j, k]`` over ``region`` of the volume."""

    region: Region
    mask: NDArray[np.bool_]


def plant(
    kind: str, volume: Volume, references: Mapping[str, Reference], name: str, rng: np.random.Generator
) -> Planted | None:
    """An error of one of `KINDS` in the segment ``name``; None where it cannot be made, or is too small to matter."""
    reference = references[name]
    made = {
        "leak": lambda: _leak(volume, reference, rng),
        "missing part": lambda: _missing_part(reference, rng),
        "shifted geometry": lambda: _shifted(reference, rng),
        "swapped label": lambda: _swapped(references, name, rng),
    }[kind]()
    return made if made is not None and _is_wrong(made, reference) else None


KINDS = ("leak", "missing part", "swapped label", "shifted geometry")


def _leak(volume: Volume, reference: Reference, rng: np.random.Generator) -> Planted | None:
    """The segment runs out through one place of its border, into what looks like it."""
    grid, whole = reference.grid, Region.whole(reference.grid.shape)
    region = reference.region.grown(1).intersection(whole)
    near = reference.over(region)
    rim = np.argwhere(ndimage.binary_dilation(near) & ~near)
    if len(rim) == 0:
        return None
    seed = rim[rng.integers(len(rim))] + region.start
    wanted = int(rng.uniform(*_LEAK) * reference.voxels)
    # A ball of three times the volume holds it easily.
    radius = min(_REACH_MM, 2.0 + (3.0 * wanted * grid.voxel_volume * 0.24) ** (1 / 3) * 1.6)
    reach = np.ceil(radius / np.array(grid.spacing)).astype(int)
    around = Region(tuple(seed.tolist()), tuple((seed + 1).tolist())).grown(reach).intersection(whole)
    values, mask = volume.array[around.slices].astype(np.float32), reference.over(around)
    inside = volume.array[reference.region.slices][reference.mask].astype(np.float32)
    unlike = np.abs(values - np.median(inside)) / max(float(inside.std()), 1e-3)
    bounds = zip(around.start, around.stop, seed, grid.spacing, strict=True)
    offsets = [(np.arange(start, stop) - at) * spacing for start, stop, at, spacing in bounds]
    distance = np.sqrt(sum(o**2 for o in np.meshgrid(*offsets, indexing="ij", sparse=True)))
    cost = np.where(mask, np.inf, distance * (1.0 + np.clip(unlike, 0, 10)))
    free = np.sort(cost[np.isfinite(cost)])
    if len(free) <= wanted:
        return None
    parts, _ = ndimage.label(cost <= free[wanted])
    lump = parts == parts[tuple(seed - around.start)]
    union = reference.region.union(around)
    return Planted(union, reference.over(union) | around.fitted(lump, union))


def _missing_part(reference: Reference, rng: np.random.Generator) -> Planted:
    """One end of the segment is not there."""
    along = np.argwhere(reference.mask) * np.array(reference.grid.spacing) @ rng.normal(size=3)
    kept = along <= np.quantile(along, 1.0 - rng.uniform(*_MISSING))
    mask = np.zeros_like(reference.mask)
    mask[reference.mask] = kept
    return Planted(reference.region, mask)


def _shifted(reference: Reference, rng: np.random.Generator) -> Planted:
    """The segment lies beside where it should: moved, or every third time mirrored in the image."""
    region, shape = reference.region, reference.grid.shape
    if rng.random() < 1 / 3:
        axis = int(rng.integers(3))
        start, stop = list(region.start), list(region.stop)
        start[axis], stop[axis] = shape[axis] - region.stop[axis], shape[axis] - region.start[axis]
        return Planted(Region(tuple(start), tuple(stop)), np.flip(reference.mask, axis))  # type: ignore[arg-type]
    direction = rng.normal(size=3)
    mm = direction / np.linalg.norm(direction) * rng.uniform(*_SHIFT_MM)
    moved = region.shifted(np.rint(mm / np.array(reference.grid.spacing)).astype(int).tolist())
    inside = moved.intersection(Region.whole(shape))
    return Planted(inside, moved.fitted(reference.mask, inside))


def _swapped(references: Mapping[str, Reference], name: str, rng: np.random.Generator) -> Planted | None:
    """The voxels of another structure of the case; None where there is no other."""
    names = [n for n in references if n != name]
    if not names:
        return None
    other = references[names[int(rng.integers(len(names)))]]
    return Planted(other.region, other.mask)


def _is_wrong(made: Planted, reference: Reference) -> bool:
    region = made.region.union(reference.region)
    differ = made.region.fitted(made.mask, region) != reference.over(region)
    return bool(made.mask.any()) and int(np.count_nonzero(differ)) >= _LEAST_WRONG * reference.voxels
