"""An image in patient space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.intensity import find_floor, find_origin, find_padding, find_padding_above, measurable


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
    def _limits(self) -> tuple[float | None, float | None, float | None, float]:
        array = self.array
        return find_padding(array), find_padding_above(array), find_floor(array), find_origin(array)

    @property
    def padding(self) -> tuple[float | None, float | None]:
        """Values below the first and above the second are padding, not measurement; None without padding there."""
        return self._limits[:2]

    @property
    def floor(self) -> float | None:
        """What darker voxels are worked on as; None: every voxel as it is."""
        return self._limits[2]

    def with_padding_of(self, whole: Volume) -> Volume:
        """Itself, with the padding of the volume that it is made of: what padding is, is decided there, once."""
        self.__dict__["_limits"] = whole._limits
        return self

    def crop(self, region: Region) -> Volume:
        """The part in ``region``, as a view of the same memory, with the whole volume's padding."""
        # Which may hold nothing but padding.
        return Volume(self.array[region.slices], self.grid.crop(region)).with_padding_of(self)

    def valid(self, *, padding: bool = False) -> NDArray[np.bool_]:
        """Which voxels hold a measurement: neither NaN, infinite, absurdly large nor, unless asked for, padding."""
        ok = measurable(self.array)
        below, above = (None, None) if padding else self.padding
        if below is not None:
            ok &= self.array >= below
        if above is not None:
            ok &= self.array <= above
        return np.asarray(ok)

    def measured(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A copy of the values as float32, less one number for all of a volume, in memory as they were, and `valid`.

        What is no measurement takes the lowest measured value, so that it does not bleed into its neighbours when
        the image is resampled. Nothing is darker than `floor`.
        """
        valid = self.valid()
        with np.errstate(over="ignore"):  # what does not fit into float32 is not valid
            origin = self._limits[3]
            values = (self.array - origin if origin else self.array).astype(np.float32)
        if not valid.all():
            # In place: the part may have most of a large volume's voxels.
            lowest = values.min(where=valid, initial=np.inf) if valid.any() else 0.0
            np.copyto(values, lowest, where=~valid)
        if self.floor is not None:
            np.maximum(values, np.float32(self.floor - origin), out=values)
        return values, valid
