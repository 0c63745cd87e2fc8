"""Where to look and how closely: from far first, on few voxels, then as near as the object that was found allows.

A lone click says nothing about the size of what was clicked; a few clicks around an object leave room. The network
answers on a coarse grid. Where its answer runs out of the view, the view grows on that side; then the object is looked
at again from near. A box, or enough negative prompts on all sides, say where the object is: then one look is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prediction.view import View, look_at, region_for
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.pseudolabel.region import VOXEL_BUDGET
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.volume import Volume

# Voxels of the working grid while the object is looked for.
SEARCH_BUDGET = 80_000
# And when it is looked at from near: a label and a pass of the network within a second on a laptop.
_NEAR_BUDGET = 250_000
# A face through which the object leaves the view: this share of it is the object's.
_LEAVES = 0.002
# The view grows by this share of its extent on such a side; so often at most.
_GROWTH, _LOOKS = 0.6, 4
# A look from far is about this part of all the work; the near one is the rest.
_FAR_SHARE = 0.15
# Around the object: these shares of its size along the axis and of its largest size, and at least so many mm.
_MARGIN, _MARGIN_ACROSS, _MARGIN_MM = 0.5, 0.2, 12.0

# Fewer negative prompts do not enclose an object.
_ENCLOSING = 6

# What is said of a view: probability on its working grid.
Judge = Callable[[View], NDArray[np.float32]]
# Told before each look which part of all the work it is, from and to, 0 to 1.
Begin = Callable[[float, float], None]


@dataclass(frozen=True, eq=False)
class Looked:
    """The last view with its probability, and ``sight``: all that any of the looks has seen."""

    view: View
    probability: NDArray[np.float32]
    sight: Region


def zoomed(
    volume: Volume,
    segment: SegmentPrompts,
    others: Iterable[SegmentPrompts],
    judge: Judge,
    begin: Begin = lambda start, stop: None,
) -> Looked:
    """Look at what the prompts are about, from as near as it can be seen whole."""
    others = tuple(others)
    region = region_for(segment, volume.grid)
    if segment.boxes or _enclosed(segment, volume.grid):
        begin(0.0, 1.0)
        view = look_at(volume, segment, others, region, _NEAR_BUDGET if segment.boxes else VOXEL_BUDGET)
        return Looked(view, _prompted(view, judge(view)), region)
    sight = region
    far = 0.0
    for _ in range(_LOOKS):
        begin(far, far + _FAR_SHARE)
        far += _FAR_SHARE
        view = look_at(volume, segment, others, region, SEARCH_BUDGET)
        probability = judge(view)
        larger = _grown(view, probability, volume.grid)
        if larger == region:
            break
        region, sight = larger, sight.union(larger)
    near = _around(view, probability, volume.grid)
    if near == view.region and max(view.grid.spacing) <= 1.01 * max(view.fine.spacing):
        return Looked(view, _prompted(view, probability), sight)
    begin(far, 1.0)
    view = look_at(volume, segment, others, near, _NEAR_BUDGET)
    return Looked(view, _prompted(view, judge(view)), sight.union(near))


def furthest(segment: SegmentPrompts, grid: Grid) -> Region:
    """All that `zoomed` can come to see: what lies outside cannot make a difference."""
    region = region_for(segment, grid)
    reach = np.ceil(np.array(region.shape) * ((1 + 2 * _GROWTH) ** (_LOOKS + 1))).astype(int)
    return region.grown(reach).intersection(Region.whole(grid.shape))


def _enclosed(segment: SegmentPrompts, grid: Grid) -> bool:
    """Whether negative prompts lie beyond the positive ones on every side."""
    inside, outside = (grid.to_index(segment.positions(positive=sign)) for sign in (True, False))
    if not len(inside) or len(outside) < _ENCLOSING:
        return False
    return bool((outside.min(axis=0) < inside.min(axis=0)).all() and (outside.max(axis=0) > inside.max(axis=0)).all())


def _object(view: View, probability: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The parts of the answer that hold a positive prompt; all of it if none does."""
    # Here, for what `furthest` tells is asked in front ends, too.
    from scipy import ndimage

    mask = probability >= 0.5
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    prompted = np.unique(parts[view.seeds.positive & mask])
    return np.isin(parts, prompted) if len(prompted) else mask


def _prompted(view: View, probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """The answer without what looks alike elsewhere: the surer such a part, the surer it would have been clicked."""
    elsewhere = (probability >= 0.5) & ~_object(view, probability)
    return np.where(elsewhere, 1.0 - probability, probability).astype(np.float32)


def _grown(view: View, probability: NDArray[np.float32], grid: Grid) -> Region:
    """The view's region, larger on every side on which the object leaves it."""
    found = _object(view, probability)
    start, stop = list(view.region.start), list(view.region.stop)
    for axis in range(3):
        by = int(np.ceil(_GROWTH * view.region.shape[axis]))
        for face, at in ((0, 0), (1, -1)):
            if found.take(at, axis=axis).mean() <= _LEAVES:
                continue
            if face == 0:
                start[axis] = max(0, start[axis] - by)
            else:
                stop[axis] = min(grid.shape[axis], stop[axis] + by)
    return Region((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _around(view: View, probability: NDArray[np.float32], grid: Grid) -> Region:
    """The object and every positive prompt with a margin; the view's region where there is neither."""
    box = Region.around(_object(view, probability) | view.seeds.positive)
    if box is None:
        return view.region
    size = np.array(box.shape) * view.grid.spacing
    margin = np.maximum(np.maximum(_MARGIN * size, _MARGIN_ACROSS * size.max()), _MARGIN_MM)
    corners = view.fine.to_index(view.grid.to_world(np.array([box.start, np.subtract(box.stop, 1)])))
    reach = margin / np.array(view.fine.spacing)
    low = np.floor(corners[0] - reach).astype(int) + view.region.start
    high = np.ceil(corners[1] + reach).astype(int) + 1 + view.region.start
    return Region(
        tuple(int(v) for v in np.maximum(low, 0)),  # type: ignore[arg-type]
        tuple(int(v) for v in np.minimum(high, grid.shape)),  # type: ignore[arg-type]
    )
