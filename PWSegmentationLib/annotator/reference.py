"""The true segment of a structure: what an annotator goes by, and what an answer is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.grid import Grid, Region


@dataclass(frozen=True, eq=False)
class Reference:
    """The true segment: ``mask`` over ``region``, its bounding box in the volume sampled on ``grid``."""

    grid: Grid
    region: Region
    mask: NDArray[np.bool_]
    # By margin: the distances are slow, and every method is measured in the same surroundings.
    _within: dict[float, tuple[Region, NDArray[np.bool_]]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, labels: NDArray[Any], values: Sequence[int], grid: Grid) -> Reference:
        """The voxels of ``labels`` that have one of ``values``. Raises `InputError` if there are none."""
        mask = labels == values[0] if len(values) == 1 else np.isin(labels, values)
        region = Region.around(mask)
        if region is None:
            raise InputError(f"No voxel has the label {', '.join(map(str, values))}: correct labels.json.")
        return cls(grid, region, mask[region.slices].copy())

    @property
    def voxels(self) -> int:
        """Voxels of the segment."""
        return int(np.count_nonzero(self.mask))

    @property
    def volume_ml(self) -> float:
        """Volume of the segment, millilitres."""
        return self.voxels * self.grid.voxel_volume / 1000.0

    def over(self, region: Region) -> NDArray[np.bool_]:
        """The segment in another region of the volume."""
        return self.region.fitted(self.mask, region)

    def within(self, margin_mm: float) -> tuple[Region, NDArray[np.bool_]]:
        """Region and mask of what is at most ``margin_mm`` away from the segment, itself included."""
        if margin_mm not in self._within:
            margin = np.ceil(margin_mm / np.array(self.grid.spacing)).astype(int)
            region = self.region.grown(margin).intersection(Region.whole(self.grid.shape))
            distance = ndimage.distance_transform_edt(~self.over(region), sampling=self.grid.spacing)
            self._within[margin_mm] = region, distance <= margin_mm
        return self._within[margin_mm]
