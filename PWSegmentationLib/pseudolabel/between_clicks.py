"""What lies between clicks along something thin: the cheapest ways from click to click.

A few clicks along a vessel or a rib leave gaps that clicks beside it are nearer to. Whoever clicks several places of
one object says that it goes on between them, and the image tells where: on the way that keeps to the intensities that
were clicked and meets the least contrast, as minimal paths do (Cohen & Kimmel, IJCV 1997). The ways join the clicks to
a tree, the cheapest there is, found from one map of distances (Mehlhorn, "A faster approximation algorithm for the
Steiner problem in graphs", IPL 1988).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from PWSegmentationLib.pseudolabel.geodesic import ROUNDS, WALL, geodesic_distances
from PWSegmentationLib.volume.masks import parts_of

if TYPE_CHECKING:
    import torch

#: Cost of one millimetre, against a step of one out of the intensities that were clicked: dear enough not to wind.
_LENGTH_WEIGHT = 0.03
#: What a step of contrast costs within these intensities. Noise must not make the way through the lung cheaper.
_CONTRAST_WEIGHT = 0.3
#: A way that is, on average, farther out of these intensities leads through something else.
_OUTSIDE = 0.02
#: Where the 18 neighbours are in a grid that was padded by one voxel; the second half lies opposite the first.
_BESIDE = [s for s in np.ndindex(3, 3, 3) if 1 <= sum(abs(v - 1) for v in s) <= 2]

_Steps: TypeAlias = list[tuple[tuple[slice, ...], np.ndarray]]
"""For each neighbour: where it is in a padded array, and what the step to it costs, (I, J, K)."""


def ways_between(
    clicks: np.ndarray, contrast: torch.Tensor, barred: torch.Tensor, spacing: Sequence[float]
) -> tuple[np.ndarray, float]:
    """The voxels on the ways that join the parts of ``clicks``, these included, and how much they could join.

    Parameters
    ----------
    clicks
        (I, J, K) bool.
    contrast
        (I, J, K) float32: the image around the object's intensity, -1 to 1.
    barred
        (I, J, K) bool: where no way leads.
    spacing
        Voxel size per axis, mm.

    Returns
    -------
    ways
        (I, J, K) bool, ``clicks`` among them.
    joined
        The share of the gaps between clicks that a way leads through; 0 for a single click.
    """
    import torch

    parts, count = parts_of(clicks)
    ways = np.array(clicks)
    if count < 2:
        return ways, 0.0
    seeds = torch.as_tensor(clicks, device=contrast.device)
    clicked = contrast[seeds]
    beyond = torch.relu(clicked.min() - contrast) + torch.relu(contrast - clicked.max())
    channels = torch.stack([_CONTRAST_WEIGHT * contrast, beyond, torch.where(barred, WALL, 0.0)])
    starts = torch.where(seeds, 0.0, torch.inf)[None]
    found = geodesic_distances(channels, starts, spacing, length_weight=_LENGTH_WEIGHT, rounds=ROUNDS)[0]
    distance = np.asarray(found.cpu().numpy())
    steps = _steps(np.asarray(channels.cpu().numpy()), spacing)
    before = _step_before(distance, clicks, steps)
    part = parts.ravel()[_origin(before)].reshape(clicks.shape)
    forbidden, outside = barred.cpu().numpy().ravel(), beyond.cpu().numpy().ravel()
    joined = 0
    for ends in _tree(distance, part, count, steps):
        way = [voxel for end in ends for voxel in _back(end, before)]
        if not forbidden[way].any() and outside[way].mean() <= _OUTSIDE:
            ways.ravel()[way] = True
            joined += 1
    return ways, joined / (count - 1)


def _steps(channels: np.ndarray, spacing: Sequence[float]) -> _Steps:
    """What the steps to the neighbours cost, as in `geodesic_distances`; ``channels`` (C, I, J, K)."""
    around = np.pad(channels, ((0, 0), (1, 1), (1, 1), (1, 1)), mode="edge")
    steps: _Steps = []
    for offset in _BESIDE:
        cut = tuple(slice(k, k + n) for k, n in zip(offset, channels.shape[1:], strict=True))
        length = float(np.linalg.norm((np.array(offset) - 1) * np.asarray(spacing, dtype=float)))
        there = (slice(None), *cut)
        change = np.abs(around[there] - channels).sum(axis=0)
        steps.append((cut, change + np.float32(_LENGTH_WEIGHT * length)))
    return steps


def _step_before(distance: np.ndarray, clicks: np.ndarray, steps: _Steps) -> np.ndarray:
    """From where each voxel was reached, as a flat array of flat indices; clicks, and what was not, from themselves."""
    own = np.arange(distance.size).reshape(distance.shape)
    before, least = own.copy(), np.full(distance.shape, np.inf, np.float32)
    around = np.pad(distance, 1, constant_values=np.inf)
    index = np.pad(own, 1)
    for cut, cost in steps:
        through = around[cut] + cost
        better = through < least
        np.copyto(least, through, where=better)
        np.copyto(before, index[cut], where=better)
    np.copyto(before, own, where=clicks)
    return before.ravel()


def _origin(before: np.ndarray) -> np.ndarray:
    """Where the way to each voxel began, flat indices."""
    origin = before
    while True:
        further = origin[origin]
        if np.array_equal(further, origin):
            return origin
        origin = further


def _back(voxel: int, before: np.ndarray) -> Iterator[int]:
    """The voxels from this one back to the click it was reached from, which is the last."""
    yield voxel
    while before[voxel] != voxel:
        voxel = int(before[voxel])
        yield voxel


def _tree(distance: np.ndarray, part: np.ndarray, count: int, steps: _Steps) -> Iterator[tuple[int, int]]:
    """The pairs of neighbours (flat indices) at which the ways of the cheapest tree meet.

    ``part`` (I, J, K): which of the ``count`` parts each voxel was reached from.
    """
    from scipy import sparse

    here, there, cost = (np.concatenate(found) for found in zip(*_meetings(distance, part, steps), strict=True))
    first, second = part.ravel()[here], part.ravel()[there]
    pair = np.minimum(first, second) * (count + 1) + np.maximum(first, second)
    order = np.argsort(cost, kind="stable")
    pairs, cheapest = np.unique(pair[order], return_index=True)
    best = order[cheapest]
    shape = (count + 1, count + 1)
    graph = sparse.coo_matrix((cost[best], (pairs // shape[0], pairs % shape[0])), shape)
    tree = sparse.csgraph.minimum_spanning_tree(graph.tocsr()).tocoo()
    for pair in tree.row * shape[0] + tree.col:
        at = best[np.searchsorted(pairs, pair)]
        yield int(here[at]), int(there[at])


def _meetings(
    distance: np.ndarray, part: np.ndarray, steps: _Steps
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Neighbours (flat indices) that were reached from different parts, and what the way through them costs."""
    around, parts = np.pad(distance, 1, constant_values=np.inf), np.pad(part, 1)
    index = np.pad(np.arange(distance.size).reshape(distance.shape), 1)
    for cut, cost in steps[: len(steps) // 2]:
        meet = (parts[cut] != part) & np.isfinite(distance) & np.isfinite(around[cut])
        yield index[cut][meet], np.flatnonzero(meet), (around[cut] + cost + distance)[meet]
