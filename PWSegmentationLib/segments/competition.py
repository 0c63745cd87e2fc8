"""Segments that may not overlap share voxels out; and what changed since the last time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.volume.grid import Region


def settle(free: Mapping[str, Prediction], frozen: Mapping[str, Prediction]) -> dict[str, Prediction]:
    """Give every voxel to one segment at most.

    Between two ``free`` segments the higher probability has it (the earlier segment on a tie); what ``frozen``
    segments hold is theirs. Only masks change, probabilities stay. The result does not depend on the order in which
    segments were predicted.
    """
    masks = {name: p.region_mask for name, p in free.items()}
    extents = {name: _extent(p) for name, p in free.items()} if len(free) > 1 else {}
    for (a, first), (b, second) in combinations(free.items(), 2):
        common = extents[a].intersection(extents[b])
        if common.is_empty:
            continue
        in_a, in_b = _within(first, common), _within(second, common)
        both = first.region_mask[in_a] & second.region_mask[in_b]
        first_wins = _bits(first.region_probability[in_a]) >= _bits(second.region_probability[in_b])
        for name, where, lost in ((a, in_a, both & ~first_wins), (b, in_b, both & first_wins)):
            # Copying a large mask takes longer than all the rest.
            if lost.any():
                masks[name] = _copied(masks[name], free[name])
                masks[name][where] &= ~lost
    for owner in frozen.values():
        for name, prediction in free.items():
            common = owner.region.intersection(prediction.region)
            if common.is_empty:
                continue
            taken = owner.region_mask[_within(owner, common)]
            if (masks[name][_within(prediction, common)] & taken).any():
                masks[name] = _copied(masks[name], prediction)
                masks[name][_within(prediction, common)] &= ~taken
    return {n: p if masks[n] is p.region_mask else replace(p, region_mask=masks[n]) for n, p in free.items()}


def changed_region(before: Mapping[str, Prediction], after: Mapping[str, Prediction]) -> Region | None:
    """Bounding box of all voxels whose membership in any segment differs; None if none does."""
    changed: Region | None = None
    for name in {**before, **after}:
        part = _difference(before.get(name), after.get(name))
        if part is not None:
            changed = part if changed is None else changed.union(part)
    return changed


def _difference(a: Prediction | None, b: Prediction | None) -> Region | None:
    if a is None or b is None:
        only = a if a is not None else b
        assert only is not None
        found, origin = Region.around(only.region_mask), only.region
    elif a.region == b.region:
        if a.region_mask is b.region_mask:
            return None
        found, origin = Region.around(a.region_mask != b.region_mask), a.region
    else:
        origin = a.region.union(b.region)
        differs = np.zeros(origin.shape, bool)
        for p in (a, b):
            differs[p.region.relative_to(origin).slices] ^= p.region_mask
        found = Region.around(differs)
    return None if found is None else found.shifted(origin.start)


def _within(prediction: Prediction, region: Region) -> tuple[slice, slice, slice]:
    """``region`` (of the volume) as slices of the prediction's own arrays."""
    return region.relative_to(prediction.region).slices


def _extent(prediction: Prediction) -> Region:
    """The bounding box of the segment, in the volume's voxels; empty where there is nothing of it."""
    found = Region.around(prediction.region_mask)
    start = prediction.region.start
    return Region(start, start) if found is None else found.shifted(start)


def _bits(probability: NDArray[np.float16]) -> NDArray[np.int16]:
    """Numbers in the same order: NumPy compares float16 twenty times slower, and no probability is negative."""
    return probability.view(np.int16)


def _copied(mask: np.ndarray, prediction: Prediction) -> np.ndarray:
    """A mask that may be written to: a copy the first time."""
    return mask.copy() if mask is prediction.region_mask else mask
