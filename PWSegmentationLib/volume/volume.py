"""An image in patient space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.intensity import find_padding, measurable


@dataclass(frozen=True, eq=False)
class Volume:
    """An array with the grid it was sampled on.

    ``array`` is real-valued, indexed ``[i, j, k]`` (see `PWSegmentationLib.volume.grid`), and never copied or
    changed: a 512×512×800 CT is held once, by whoever loaded it.
    """

    array: NDArray[Any]
    grid: Grid

    @classmethod
    def from_array(cls, array: ArrayLike, affine: ArrayLike) -> Volume:
        """Check and wrap ``array`` ``[i, j, k]`` with its IJK-to-RAS ``affine`` ``(4, 4)``, mm.

        Raises
        ------
        InputError
            If the array is not a 3D array of real numbers or the affine is unusable.
        """
        array = np.asarray(array)
        if array.ndim != 3:
            raise InputError(
                f"The image must have three axes; this one has shape {array.shape}: pick one channel or time point."
            )
        if array.dtype == bool:
            array = array.view(np.uint8)
        if array.dtype.kind not in "iuf":
            raise InputError(f"The image must hold real numbers; this one holds {array.dtype}.")
        return cls(array, Grid(array.shape, np.asarray(affine, dtype=np.float64)))

    @cached_property
    def padding_below(self) -> float | None:
        """Values below this are padding, not measurement; None without padding."""
        return find_padding(self.array)

    def crop(self, region: Region) -> Volume:
        """The part in ``region``, as a view of the same memory, with the whole volume's padding."""
        part = Volume(self.array[region.slices], self.grid.crop(region))
        # A crop may hold nothing but padding, so what padding is, is decided on the whole volume.
        part.__dict__["padding_below"] = self.padding_below
        return part

    def valid(self, *, padding: bool = False) -> NDArray[np.bool_]:
        """Which voxels hold a measurement: neither NaN, infinite, absurdly large nor, unless asked for, padding."""
        ok = measurable(self.array)
        if self.padding_below is not None and not padding:
            ok &= self.array >= self.padding_below
        return np.asarray(ok)

    def measured(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A copy of the values as float32, i slowest in memory, and `valid`.

        What is no measurement takes the lowest measured value, so that it does not bleed into its neighbours when
        the image is resampled.
        """
        valid = self.valid()
        with np.errstate(over="ignore"):  # what does not fit into float32 is not valid
            values = self.array.astype(np.float32, order="C")
        if not valid.all():
            # In place: the part may have most of a large volume's voxels.
            lowest = values.min(where=valid, initial=np.inf) if valid.any() else 0.0
            np.copyto(values, lowest, where=~valid)
        return values, valid
