"""Prompts as different people place them: what a promptable network learns from.

The protocols of a benchmark are always the same; users are not. Here the kind of prompt, how many there are, how well
they are spread and how near the border they lie are drawn at random. Many users are careful all the same, as
`SimulatedAnnotator` is: the first click into the middle, the others well spread, none near the border. A network that
has only met clicks anywhere takes the border to lie half way between those inside and outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.annotator import placement
from PWSegmentationLib.annotator.protocols import Noise, Protocol, SimulatedAnnotator, box_of
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts, Strokes
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.masks import depth_mm

_Way = TypeVar("_Way")

# Prompts are placed no further than this from the structure, mm.
_REACH_MM = 30.0
# How often a careful hand errs; then by up to so many mm, and it takes this share of the clicks for the opposite.
_ERRS, _MISSES_MM, _WRONG = 0.15, 5.0, 0.05
# A box is this much larger than the structure on each side at most, mm.
_LOOSE_MM = 8.0


class _Around:
    """The structure and its surroundings, as far as prompts are placed."""

    def __init__(self, reference: Reference) -> None:
        self.spacing = reference.grid.spacing
        reach = np.ceil(_REACH_MM / np.array(self.spacing)).astype(int)
        self.region = reference.region.grown(reach).intersection(Region.whole(reference.grid.shape))
        self.grid: Grid = reference.grid.crop(self.region)
        self.mask: NDArray[np.bool_] = reference.over(self.region)

    def clicks(self, inside: int, outside: int, rng: np.random.Generator) -> SegmentPrompts:
        """Clicks, well spread or at random, near the border or keeping away from it."""
        prompts = SegmentPrompts("structure")
        depth = depth_mm(self.mask, self.spacing)
        interior = np.argwhere(depth > rng.uniform(0.1, 0.6) * depth.max())
        for voxel in self._chosen(interior, inside, rng):
            prompts = prompts.with_prompt(Point(tuple(self.grid.to_world(voxel)), True))
        if not outside:
            return prompts
        away = ndimage.distance_transform_edt(~self.mask, sampling=self.spacing)
        near, far = rng.uniform(1.5, 4.0), rng.uniform(8.0, 20.0)
        for voxel in self._chosen(np.argwhere((away > near) & (away < far)), outside, rng):
            prompts = prompts.with_prompt(Point(tuple(self.grid.to_world(voxel)), False))
        return prompts

    def _chosen(self, voxels: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        voxels = voxels[rng.permutation(len(voxels))[:20000]]
        if rng.random() < 0.6:
            return voxels[placement.spread(voxels * np.array(self.spacing), count, 0)] if len(voxels) else voxels
        return voxels[:count]

    def strokes(self, rng: np.random.Generator) -> SegmentPrompts:
        """Scribbles on one to three slices, through the centre or another place well inside."""
        middle, depth = placement.centre(self.mask, self.spacing)
        if rng.random() < 0.5:
            inner = np.argwhere(depth > 0.5 * depth.max())
            middle = inner[rng.integers(len(inner))]
        axes = rng.permutation(3)[: rng.integers(1, 4)].tolist()
        painted = placement.scribbles(self.mask, self.spacing, through=middle, axes=axes)
        return SegmentPrompts("structure").with_prompt(Strokes.from_labelmap(painted, self.grid.affine))

    def box(self, rng: np.random.Generator) -> SegmentPrompts:
        """A box, mostly loose."""
        found = Region.around(self.mask)
        assert found is not None, "an empty mask has no prompts"
        moved = rng.uniform(0.0, _LOOSE_MM, (2, 3)) * rng.random() * np.array([[-1.0], [1.0]])
        return SegmentPrompts("structure").with_prompt(box_of(found, self.grid, moved))


_WAYS: tuple[tuple[float, Callable[[_Around, np.random.Generator], SegmentPrompts]], ...] = (
    (0.20, lambda around, rng: around.clicks(1, 0, rng)),
    (0.25, lambda around, rng: around.clicks(int(rng.integers(1, 9)), int(rng.integers(0, 13)), rng)),
    (0.20, lambda around, rng: around.clicks(int(rng.integers(8, 26)), int(rng.integers(8, 26)), rng)),
    (0.15, lambda around, rng: around.strokes(rng)),
    (0.20, lambda around, rng: around.box(rng)),
)


_CAREFUL_WAYS: tuple[tuple[float, Callable[[np.random.Generator], Protocol]], ...] = (
    (0.25, lambda rng: Protocol("one click", inside=1)),
    (0.20, lambda rng: Protocol("few", inside=int(rng.integers(2, 9)), outside=int(rng.integers(2, 13)))),
    (0.20, lambda rng: Protocol("many", inside=int(rng.integers(8, 26)), outside=int(rng.integers(8, 26)))),
    (0.15, lambda rng: Protocol("scribbles", scribbles=True)),
    (0.20, lambda rng: Protocol("box", box=True)),
)


def varied_prompts(reference: Reference, rng: np.random.Generator, careful: float = 0.5) -> SegmentPrompts:
    """First prompts for a structure, world mm: one click, a few, many, scribbles or a box.

    ``careful`` is the share of users who prompt as `SimulatedAnnotator` does.
    """
    prompts = _careful_prompts(reference, rng) if rng.random() < careful else None
    return prompts or _drawn(_WAYS, rng)(_Around(reference), rng)


def varied_clicks(reference: Reference, inside: int, outside: int, rng: np.random.Generator) -> SegmentPrompts:
    """So many clicks on a structure, world mm: well spread or at random, near the border or not."""
    return _Around(reference).clicks(inside, outside, rng)


def _careful_prompts(reference: Reference, rng: np.random.Generator) -> SegmentPrompts | None:
    """As `SimulatedAnnotator` does; None where all clicks inside were taken for the opposite."""
    protocol = _drawn(_CAREFUL_WAYS, rng)(rng)
    if rng.random() < _ERRS:
        protocol = replace(protocol, noise=Noise(rng.uniform(0.0, _MISSES_MM), _WRONG))
    prompts = SimulatedAnnotator(reference, protocol, int(rng.integers(2**31))).start()
    return prompts if prompts.has_positive else None


def _drawn(ways: Sequence[tuple[float, _Way]], rng: np.random.Generator) -> _Way:
    """One of ``ways``, each with its share."""
    shares = np.array([share for share, _ in ways])
    return ways[int(rng.choice(len(ways), p=shares / shares.sum()))][1]
