"""Images of what is small, a mouse, a tooth, a specimen in micro-CT, worked on as if it were as large as a body.

All that the program says in mm, how far a click speaks for what is around it, how far a lone one reaches, how large
organs are, was chosen on people: in a mouse, a click of 2 mm is most of what was clicked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from PWSegmentationLib.prompts.prompts import Box, Point, Scribble, SegmentPrompts, Strokes
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.volume import Volume

# Voxels as small as these, in an image as small as this, mm, are of nobody's body; nor is one as large as that.
_FINE_MM, _SMALL_MM, _NO_BODY_MM = 0.2, 100.0, 3000.0
# The voxels of an image of a body, mm.
_USUAL_MM = 0.6


@dataclass(frozen=True)
class BodySize:
    """World positions ``by`` times as far from the origin; 1 for images of people."""

    by: float = 1.0

    @classmethod
    def of(cls, grid: Grid) -> BodySize:
        """For images on ``grid``."""
        finest, extent = min(grid.spacing), float((np.array(grid.shape) * grid.spacing).max())
        small = finest < _FINE_MM and extent < _SMALL_MM
        return cls(_USUAL_MM / finest if small or extent > _NO_BODY_MM else 1.0)

    def volume(self, volume: Volume) -> Volume:
        """The same voxels, further apart."""
        return volume if self.by == 1.0 else Volume(volume.array, self.grid(volume.grid)).with_padding_of(volume)

    def grid(self, grid: Grid) -> Grid:
        """The same grid, its voxels further apart."""
        return grid if self.by == 1.0 else Grid(grid.shape, np.diag([self.by, self.by, self.by, 1.0]) @ grid.affine)

    def real(self, grid: Grid) -> Grid:
        """The inverse of `grid`."""
        return BodySize(1.0 / self.by).grid(grid)

    def prompts(self, segment: SegmentPrompts) -> SegmentPrompts:
        """The same prompts on voxels that are further apart."""
        if self.by == 1.0:
            return segment
        return SegmentPrompts(
            segment.name,
            tuple(Point(self._moved(p.position), p.positive) for p in segment.points),
            tuple(Box(self._moved(b.center), self._moved(b.size), b.orientation) for b in segment.boxes),
            tuple(
                Scribble(tuple(self._moved(p) for p in s.points), self.by * s.radius, s.positive)
                for s in segment.scribbles
            ),
            tuple(Strokes(s.labels, self.grid(s.grid)) for s in segment.strokes),
        )

    def all(self, segments: Iterable[SegmentPrompts]) -> tuple[SegmentPrompts, ...]:
        """`prompts` of each."""
        return tuple(self.prompts(segment) for segment in segments)

    def _moved(self, position: tuple[float, float, float]) -> tuple[float, float, float]:
        x, y, z = position
        return (self.by * x, self.by * y, self.by * z)
