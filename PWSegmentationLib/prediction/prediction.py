"""The answer to a set of prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.volume.grid import Grid, Region


@dataclass(frozen=True, eq=False)
class Prediction:
    """Mask, probability and uncertainty of one segment.

    Only the part that was looked at is stored; `mask`, `probability` and `uncertainty` put it into an array of the
    whole volume's shape when asked. Outside ``region`` the segment is absent: probability and uncertainty 0.

    Parameters
    ----------
    segment
        Name of the segment.
    grid
        Of the whole volume.
    region
        The part that it is about: what was looked at last. Others' prompts outside are no reason to ask again.
    region_mask
        bool ``[i, j, k]`` over ``region``. Where segments may not overlap, voxels that belong to another one are
        false here although the probability may be above one half.
    region_probability, region_uncertainty
        float16 over ``region``, in [0, 1]. Uncertainty is the entropy of the (mean) probability, in bits:
        0 certain, 1 a coin toss.
    working_grid, working_probability
        The grid over ``region`` on which it was worked, and float16 probability there: `EarlierAnswer` needs them.
    changed
        Bounding box of every voxel whose membership in any segment differs from what the session's last `predict`
        said; None if none does. It is about masks: probabilities may have changed elsewhere in ``region``, too.
    note
        A sentence for the user where something was not as it should be; mostly empty.
    method
        What produced it, for people: "image-aware label", "image-aware label + fine-tuned network", ...
    seconds
        Time it took.
    """

    segment: str
    grid: Grid
    region: Region
    region_mask: NDArray[np.bool_]
    region_probability: NDArray[np.float16]
    region_uncertainty: NDArray[np.float16]
    working_grid: Grid | None = None
    working_probability: NDArray[np.float16] | None = None
    changed: Region | None = None
    note: str = ""
    method: str = ""
    seconds: float = 0.0

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool, the whole volume's shape."""
        return self._whole(self.region_mask, bool)

    @property
    def probability(self) -> NDArray[np.float32]:
        """float32, the whole volume's shape, in [0, 1]."""
        return self._whole(self.region_probability, np.float32)

    @property
    def uncertainty(self) -> NDArray[np.float32]:
        """float32, the whole volume's shape, in [0, 1]."""
        return self._whole(self.region_uncertainty, np.float32)

    @property
    def volume_ml(self) -> float:
        """Volume of the mask in millilitres."""
        return float(np.count_nonzero(self.region_mask)) * self.grid.voxel_volume / 1000.0

    @property
    def nbytes(self) -> int:
        """Memory held."""
        arrays = (self.region_mask, self.region_probability, self.region_uncertainty, self.working_probability)
        return sum(a.nbytes for a in arrays if a is not None)

    def _whole(self, part: NDArray[Any], dtype: Any) -> NDArray[Any]:
        # zeros() costs nothing until written to: only the region's memory pages are ever touched.
        out = np.zeros(self.grid.shape, dtype)
        out[self.region.slices] = part
        return out
