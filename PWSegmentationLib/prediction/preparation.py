"""How an image is brought into the form a network is trained on, and its answer back: part of the model's card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.volume.canonical import Canonical
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.intensity import normalise
from PWSegmentationLib.volume.resampling import resample
from PWSegmentationLib.volume.volume import Volume

# Hounsfield units; soft tissue with its fat and the brightest contrast agent.
_CT_WINDOW = (-175.0, 250.0)


@dataclass(frozen=True)
class Preparation:
    """Spacing (mm, 0: the image's own) and intensities: ``"robust"`` percentiles, for any modality, or ``"ct"``."""

    spacing_mm: float = 0.0
    intensity: Literal["robust", "ct"] = "robust"

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Preparation:
        """As a model's card has it."""
        return cls(**card.get("preparation", {}))

    @property
    def document(self) -> dict[str, Any]:
        """For the card."""
        return asdict(self)

    def prepare(self, volume: Volume) -> Prepared:
        """The image on the working grid."""
        canonical = Canonical.of(volume.grid)
        source = canonical.volume(volume)
        grid = source.grid.resampled((self.spacing_mm,) * 3) if self.spacing_mm else source.grid
        values, valid = source.measured()
        if self.spacing_mm:
            valid = resample(valid, source.grid, grid) > 0.5
            values = resample(values, source.grid, grid)
        return Prepared(canonical, Volume(values, grid), valid, self._scaled(values, valid))

    def _scaled(self, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        if self.intensity == "robust":
            return normalise(values, valid) * 4.0 - 2.0
        low, high = _CT_WINDOW
        scaled = np.clip((values - low) / (high - low), 0.0, 1.0) * 4.0 - 2.0
        scaled[~valid] = -2.0
        return np.asarray(scaled, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image on its working grid: ``volume`` in its own unit, ``image`` scaled to [−2, 2]; and the way back."""

    canonical: Canonical
    volume: Volume
    valid: NDArray[np.bool_]
    image: NDArray[np.float32]

    @property
    def grid(self) -> Grid:
        """The working grid."""
        return self.volume.grid

    def labels(self, labelmap: NDArray[Any]) -> NDArray[np.int32]:
        """A labelmap of the source, each working voxel the value of its nearest source voxel."""
        source = self.canonical.forth(labelmap)
        if self.canonical.grid.same_as(self.grid):
            return np.ascontiguousarray(source, dtype=np.int32)
        return np.round(resample(source, self.canonical.grid, self.grid, order=0)).astype(np.int32)

    def to_source(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Values on the working grid, linearly interpolated at the source's voxels."""
        if not self.canonical.grid.same_as(self.grid):
            values = resample(values, self.grid, self.canonical.grid)
        return np.ascontiguousarray(self.canonical.back(values), dtype=np.float32)
