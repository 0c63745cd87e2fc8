"""Where to look and how closely: from far first, on few voxels, then as near as the object that was found allows.

A lone click says nothing about the size of what was clicked; a few clicks around an object leave room. The network
answers on a coarse grid. Where its answer runs out of the view, the view grows on that side; then the object is looked
at again from near. The first look around a lone click is a wide one: from near, the network takes a part of a large
organ for the whole, and is not made better by looking closer. What it hardly sees from there may be small, and it looks
closely, too. What is small and stands out from its surroundings (`standing_out`) is looked at from near at once: from
far, a lesion is its organ. A box, or enough negative prompts on all sides, say where the object is: then one look is
enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prediction.view import View, look_at, region_for
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.pseudolabel import PseudoLabel
from PWSegmentationLib.pseudolabel.region import LONE_REACH_MM, VOXEL_BUDGET
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.masks import parts_of
from PWSegmentationLib.volume.volume import Volume

# Voxels of the working grid while the object is looked for.
SEARCH_BUDGET = 80_000
# And when it is looked at from near: a label and a pass of the network within a second on a laptop.
_NEAR_BUDGET = 250_000
# A face through which the object leaves the view: this share of it is the object's.
_LEAVES = 0.002
# The view grows by this share of its extent on such a side; so often at most.
_GROWTH, _LOOKS = 0.6, 4
# A look from far is about this part of what work is left; the near one is the rest.
_FAR_SHARE = 0.15
# Around the object: these shares of its size along the axis and of its largest size, and at least so many mm.
_MARGIN, _MARGIN_ACROSS, _MARGIN_MM = 0.5, 0.2, 12.0

# How far around positive prompts alone is looked at first, mm; an object of fewer voxels there is looked for from so
# near, too. Chosen on the structures for tuning: one click reached Dice .45 with 50 mm, .52 with 65, .55 with 80, .54
# with 100. After negative prompts the wide look was no better.
_WIDE_MM, _FEW_VOXELS, _CLOSE_MM = 80.0, 600, 18.0

# Around what stands out is looked at within so many of its radii, and so many mm.
_RADII, _BESIDE_MM = 2.0, 4.0

# Fewer negative prompts do not enclose an object.
_ENCLOSING = 6


@dataclass(frozen=True, eq=False)
class Judged:
    """What is said of a view: ``probability`` on its working grid, and the ``label`` that it was judged from."""

    probability: NDArray[np.float32]
    label: PseudoLabel | None = None


Judge = Callable[[View], Judged]
# Told before each look which part of all the work it is, from and to, 0 to 1.
Begin = Callable[[float, float], None]


@dataclass(frozen=True, eq=False)
class Looked:
    """The last view with its probability and label."""

    view: View
    probability: NDArray[np.float32]
    label: PseudoLabel | None = None


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
        return _prompted(view, judge(view))
    looks = _Looks(volume, segment, others, judge, begin)
    reach = _reach(segment)
    if reach == _WIDE_MM:
        reach = _reach_standing_out(volume, segment) or reach
    found = looks.found_within(reach)
    if reach == _WIDE_MM and np.count_nonzero(found.mask) < _FEW_VOXELS:
        found = max(found, looks.found_within(_CLOSE_MM), key=lambda each: each.certainty)
    near = _around(found, volume.grid)
    if near == found.view.region and max(found.view.grid.spacing) <= 1.01 * max(found.view.fine.spacing):
        return _prompted(found.view, found.answer)
    begin(looks.done, 1.0)
    view = look_at(volume, segment, others, near, _NEAR_BUDGET)
    return _prompted(view, judge(view))


@dataclass(frozen=True, eq=False)
class _Found:
    """A look from far: the view, the answer there, and the object that holds the prompts."""

    view: View
    answer: Judged
    mask: NDArray[np.bool_]

    @property
    def certainty(self) -> float:
        """Mean probability in the object, 0 to 1."""
        return float(self.answer.probability[self.mask].mean()) if self.mask.any() else 0.0


class _Looks:
    """Looks from far, and the share of all the work that they were."""

    def __init__(
        self,
        volume: Volume,
        segment: SegmentPrompts,
        others: tuple[SegmentPrompts, ...],
        judge: Judge,
        begin: Begin,
    ) -> None:
        self.volume, self.segment, self.others, self.judge, self.begin = volume, segment, others, judge, begin
        self.done = 0.0

    def found_within(self, reach_mm: float) -> _Found:
        """What is found within so many mm of the prompts, or further where the object goes on."""
        region = region_for(self.segment, self.volume.grid, reach_mm)
        for _ in range(_LOOKS):
            begun, self.done = self.done, self.done + _FAR_SHARE * (1.0 - self.done)
            self.begin(begun, self.done)
            view = look_at(self.volume, self.segment, self.others, region, SEARCH_BUDGET)
            answer = self.judge(view)
            found = _Found(view, answer, _object(view, answer.probability))
            larger = _grown(found, self.volume.grid)
            if larger == region:
                break
            region = larger
        return found


def furthest(segment: SegmentPrompts, grid: Grid) -> Region:
    """All that `zoomed` can come to see: what lies outside cannot make a difference."""
    region = region_for(segment, grid, _reach(segment))
    reach = np.ceil(np.array(region.shape) * ((1 + 2 * _GROWTH) ** (_LOOKS + 1))).astype(int)
    return region.grown(reach).intersection(Region.whole(grid.shape))


def _reach(segment: SegmentPrompts) -> float:
    """How far is looked at first where nothing else says how far the object reaches, mm."""
    return LONE_REACH_MM if len(segment.positions(positive=False)) else _WIDE_MM


def _reach_standing_out(volume: Volume, segment: SegmentPrompts) -> float | None:
    """How far is looked at first where only clicks say what is meant, and something small stands out there, mm."""
    # Here, for what `furthest` tells is asked in front ends, too, which must not wait for scipy.
    from PWSegmentationLib.prediction.standing_out import SURROUNDINGS_MM, radius_standing_out

    if segment.scribbles or segment.strokes:
        return None
    around = look_at(volume, segment, (), region_for(segment, volume.grid, SURROUNDINGS_MM), SEARCH_BUDGET)
    radius = radius_standing_out(around, segment.positions(positive=True))
    return None if radius is None else _RADII * radius + _BESIDE_MM


def _enclosed(segment: SegmentPrompts, grid: Grid) -> bool:
    """Whether negative prompts lie beyond the positive ones on every side."""
    inside, outside = (grid.to_index(segment.positions(positive=sign)) for sign in (True, False))
    if not len(inside) or len(outside) < _ENCLOSING:
        return False
    return bool((outside.min(axis=0) < inside.min(axis=0)).all() and (outside.max(axis=0) > inside.max(axis=0)).all())


def _object(view: View, probability: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The parts of the answer that hold a positive prompt; all of it if none does."""
    mask = probability >= 0.5
    parts, _ = parts_of(mask)
    prompted = np.unique(parts[view.seeds.positive & mask])
    return np.isin(parts, prompted) if len(prompted) else mask


def _prompted(view: View, answer: Judged) -> Looked:
    """The answer without what looks alike elsewhere: the surer such a part, the surer it would have been clicked."""
    probability = answer.probability
    elsewhere = (probability >= 0.5) & ~_object(view, probability)
    kept = np.where(elsewhere, 1.0 - probability, probability).astype(np.float32)
    return Looked(view, kept, answer.label)


def _grown(found: _Found, grid: Grid) -> Region:
    """The view's region, larger on every side on which the object leaves it."""
    region = found.view.region
    start, stop = list(region.start), list(region.stop)
    for axis in range(3):
        by = int(np.ceil(_GROWTH * region.shape[axis]))
        for face, at in ((0, 0), (1, -1)):
            if found.mask.take(at, axis=axis).mean() <= _LEAVES:
                continue
            if face == 0:
                start[axis] = max(0, start[axis] - by)
            else:
                stop[axis] = min(grid.shape[axis], stop[axis] + by)
    return Region((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _around(found: _Found, grid: Grid) -> Region:
    """The object and every positive prompt with a margin; the view's region where there is neither."""
    view = found.view
    box = Region.around(found.mask | view.seeds.positive)
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
