"""Good segments made bad in ways that happen, to see whether a review notices.

Every error is planted into a reference; the same seed plants the same one. What comes out differs from the reference
by a fifth of its voxels at least, or it is no error worth finding and None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
_REACH_MM = 40.0


def leak(volume: Volume, reference: Reference, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """The segment runs out through one place of its border, into what looks like it."""
    grid = reference.grid
    reach = np.ceil(_REACH_MM / np.array(grid.spacing)).astype(int)
    region = reference.region.grown(reach).intersection(Region.whole(grid.shape))
    mask = reference.over(region)
    rim = np.argwhere(ndimage.binary_dilation(mask) & ~mask)
    if len(rim) == 0:
        return None
    seed = rim[rng.integers(len(rim))]
    values = volume.array[region.slices].astype(np.float32)
    inside = values[mask]
    unlike = np.abs(values - np.median(inside)) / max(float(inside.std()), 1e-3)
    places = np.moveaxis(np.indices(mask.shape), 0, -1) * np.array(grid.spacing)
    cost = np.linalg.norm(places - places[tuple(seed)], axis=-1) * (1.0 + np.clip(unlike, 0, 10))
    cost[mask] = np.inf
    wanted = int(rng.uniform(*_LEAK) * reference.voxels)
    free = np.sort(cost[np.isfinite(cost)])
    if len(free) <= wanted:
        return None
    parts, _ = ndimage.label(cost <= free[wanted])
    return _whole(reference, region, mask | (parts == parts[tuple(seed)]))


def missing_part(volume: Volume, reference: Reference, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """One end of the segment is not there."""
    direction = rng.normal(size=3)
    places = np.argwhere(reference.mask) * np.array(reference.grid.spacing)
    along = places @ direction
    kept = along <= np.quantile(along, 1.0 - rng.uniform(*_MISSING))
    mask = np.zeros_like(reference.mask)
    mask[reference.mask] = kept
    return _whole(reference, reference.region, mask)


def shifted(volume: Volume, reference: Reference, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """The segment lies beside where it should: moved, or every third time mirrored in the image."""
    grid = reference.grid
    whole = _whole(reference, reference.region, reference.mask)
    if rng.random() < 1 / 3:
        return np.flip(whole, int(rng.integers(3)))
    direction = rng.normal(size=3)
    step = np.rint(direction / np.linalg.norm(direction) * rng.uniform(*_SHIFT_MM) / np.array(grid.spacing))
    return _moved(whole, step.astype(int))


def swapped(others: Mapping[str, Reference], name: str, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """The voxels of another structure of the case; None where there is no other."""
    names = [n for n in others if n != name]
    if not names:
        return None
    other = others[names[int(rng.integers(len(names)))]]
    return _whole(other, other.region, other.mask)


def is_wrong(mask: NDArray[np.bool_], reference: Reference) -> bool:
    """Whether enough voxels differ for it to matter."""
    truth = _whole(reference, reference.region, reference.mask)
    return bool(mask.any() and np.count_nonzero(mask != truth) >= _LEAST_WRONG * reference.voxels)


def _whole(reference: Reference, region: Region, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    out = np.zeros(reference.grid.shape, bool)
    out[region.slices] = mask
    return out


def _moved(mask: NDArray[np.bool_], step: NDArray[np.int64]) -> NDArray[np.bool_]:
    out = np.zeros_like(mask)
    source = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, mask.shape, strict=True))
    target = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, mask.shape, strict=True))
    out[target] = mask[source]
    return out


Plant = Callable[[Volume, Reference, np.random.Generator], "NDArray[np.bool_] | None"]
PLANTS: dict[str, Plant] = {"leak": leak, "missing part": missing_part, "shifted geometry": shifted}
