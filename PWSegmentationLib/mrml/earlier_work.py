"""A segment that holds more, or less, than our answers put there: made elsewhere, edited by hand, or reopened.

What it holds counts as the answer before its last prompts, and these change it only around themselves: those inside
add, those outside take away, and the rest stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.mrml.nodes import Node
from PWSegmentationLib.mrml.segments import segment_part
from PWSegmentationLib.mrml.volumes import image_grid
from PWSegmentationLib.prediction.earlier_answer import EarlierAnswer
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.prompts import Point, Position, SegmentPrompts
from PWSegmentationLib.volume.grid import Grid, Region

# How far around a prompt that contradicts it, a segment may grow or shrink: so many times as far as the prompt lies
# behind its border, and so many mm at least; no farther than that.
_GROWS, _SHRINKS, _LEAST_MM, _MOST_MM = 4.0, 2.0, 4.0, 120.0
# Of a scribble so many positions are looked at, and of a segment so many for one in its middle.
_POSITIONS = 24


@dataclass(frozen=True, eq=False)
class EarlierWork:
    """What a segment holds: ``mask`` over ``region`` of the image's ``grid``; ``answered``: the prompts it goes by."""

    grid: Grid
    region: Region
    mask: NDArray[np.bool_]
    answered: SegmentPrompts

    @classmethod
    def of(
        cls, segmentation_node: Node, segment_id: str, volume_node: Node, answered: SegmentPrompts
    ) -> EarlierWork | None:
        """What a segment of the scene holds; None if that is nothing."""
        part = segment_part(segmentation_node, segment_id, volume_node)
        return None if part is None else cls(image_grid(volume_node), *part, answered)

    def as_answer(self, asked: SegmentPrompts) -> EarlierAnswer:
        """What the next answer may go by: to those of the prompts ``asked`` that are not new."""
        new = asked.beyond(self.answered)
        old = SegmentPrompts(
            asked.name,
            tuple(p for p in asked.points if p not in new.points),
            tuple(b for b in asked.boxes if b not in new.boxes),
            tuple(s for s in asked.scribbles if s not in new.scribbles),
            tuple(s for s in asked.strokes if s not in new.strokes),
        )
        return EarlierAnswer.of_mask(old, self.grid, self.region, self.mask)

    def changed_by(
        self, found: Prediction, asked: SegmentPrompts, known: Prediction | None
    ) -> tuple[Prediction, Prediction]:
        """What the segment was, and is to be, where the answer ``found`` to the prompts ``asked`` may change it.

        ``known`` is the answer before: where the segment is not as that said, only prompts right there have a say.
        """
        box = self.region.union(found.region)
        before, after = self.region.fitted(self.mask, box), found.region.fitted(found.region_mask, box)
        new, gone = asked.beyond(self.answered), self.answered.beyond(asked)
        # What a prompt did that was taken back may go either way.
        back = [*_positions(gone, True), *_positions(gone, False), *(b.center for b in gone.boxes)]
        adding = [p for p in _positions(new, True) if not self._holds(p)]
        taking = [p for p in _positions(new, False) if self._holds(p)]
        said = before if known is None else known.region.fitted(known.region_mask, box)
        erased, painted = said & ~before, before & ~said
        more, less = after & ~before, before & ~after
        add = self._parts(more, box, adding, erased, _GROWS) | self._near(more & ~erased, box, back, _GROWS)
        take = self._parts(less, box, taking, painted, _SHRINKS) | self._near(less & ~painted, box, back, _SHRINKS)
        for drawn in new.boxes:
            index = self.grid.to_voxel(drawn.corners)
            inside = Region(tuple(index.min(axis=0)), tuple(index.max(axis=0) + 1)).intersection(box)
            if not inside.is_empty:
                part = inside.relative_to(box).slices
                add[part] |= more[part]
        was, now = (_with_mask(found, box, mask) for mask in (before, (before | add) & ~take))
        return was, now

    def _parts(
        self,
        change: NDArray[np.bool_],
        box: Region,
        positions: list[Position],
        by_hand: NDArray[np.bool_],
        reach: float,
    ) -> NDArray[np.bool_]:
        """The connected parts of a change that prompts lie in, within their reach; ``by_hand`` for those in it."""
        from scipy import ndimage

        out = np.zeros(box.shape, bool)
        for position in positions:
            voxel = np.subtract(self.grid.to_voxel(position), box.start)
            if (voxel < 0).any() or (voxel >= box.shape).any():
                continue
            means_it = bool(by_hand[tuple(voxel)])
            parts, _ = ndimage.label(self._near(change if means_it else change & ~by_hand, box, [position], reach))
            # What was worked on a coarser grid may leave the very voxel out.
            around = parts[tuple(slice(max(0, v - 1), v + 2) for v in voxel)]
            out |= np.isin(parts, np.setdiff1d(around, [0]))
        return out

    def _near(
        self, change: NDArray[np.bool_], box: Region, positions: list[Position], reach: float
    ) -> NDArray[np.bool_]:
        """The part of a change that is within the reach of prompts: so many times their distance from the border."""
        allowed = np.zeros(box.shape, bool)
        for position in positions:
            self._allow(allowed, box, position, reach)
        return change & allowed

    def inner_point(self, outside: SegmentPrompts) -> Point:
        """A place well within the segment, and away from where it is denied."""
        denied = _positions(outside, False)
        held = np.argwhere(self.mask) + self.region.start
        places = self.grid.to_world(held[:: max(1, len(held) // (4 * _POSITIONS))])

        def sureness(place: Position) -> float:
            away = [float(np.linalg.norm(np.subtract(place, d))) - self._depth(d) for d in denied]
            return min([self._depth(place), *away])

        return Point(max((tuple(float(v) for v in p) for p in places), key=sureness))  # type: ignore[arg-type, type-var]

    def _holds(self, position: Position) -> bool:
        voxel = np.subtract(self.grid.to_voxel(position), self.region.start)
        inside = bool((voxel >= 0).all() and (voxel < self.mask.shape).all())
        return inside and bool(self.mask[tuple(voxel)])

    def _depth(self, position: Position) -> float:
        """How far it is, mm, from a position to where the segment begins, or ends."""
        wanted, nearest = not self._holds(position), np.inf
        reach = 4.0
        while nearest > reach and reach < 4 * _MOST_MM:
            reach *= 2
            window = self.grid.region_of(np.atleast_2d(position), reach)
            there = np.argwhere(self.region.fitted(self.mask, window) == wanted)
            if len(there):
                away = self.grid.to_world(there + window.start) - position
                nearest = float(np.sqrt((away**2).sum(axis=1).min()))
        return nearest

    def _allow(self, allowed: NDArray[np.bool_], box: Region, position: Position, times: float) -> None:
        """Mark what lies within a prompt's reach."""
        reach = float(np.clip(times * self._depth(position), _LEAST_MM, _MOST_MM))
        window = self.grid.region_of(np.atleast_2d(position), reach).intersection(box)
        if window.is_empty:
            return
        axes = np.ogrid[window.slices]
        center = self.grid.to_index(position)
        squared = np.zeros(window.shape)
        for row in self.grid.affine[:3, :3]:
            squared += sum(row[a] * (axes[a] - center[a]) for a in range(3)) ** 2
        allowed[window.relative_to(box).slices] |= squared <= reach**2


def _positions(prompts: SegmentPrompts, positive: bool) -> list[Position]:
    found = prompts.positions(positive)
    return [tuple(float(v) for v in p) for p in found[:: max(1, len(found) // _POSITIONS)]]  # type: ignore[misc]


def _with_mask(found: Prediction, region: Region, mask: NDArray[np.bool_]) -> Prediction:
    """The same with another mask; only this is meant."""
    nothing = np.zeros(region.shape, np.float16)
    return replace(found, region=region, region_mask=mask, region_probability=nothing, region_uncertainty=nothing)
