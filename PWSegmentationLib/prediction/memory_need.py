"""How much memory predicting on an image takes, said before it is begun."""

from __future__ import annotations

import math

from PWSegmentationLib.prediction.free_memory import free_in_group, free_on_machine
from PWSegmentationLib.pseudolabel.region import VOXEL_BUDGET
from PWSegmentationLib.volume.grid import Grid

# The interpreter with PyTorch, MONAI and SciPy.
_LIBRARIES = 600_000_000
# Maps of the working grid alive at once, and of the region at the image's own resolution, in bytes a voxel.
_WORKING, _REGION = 150, 20
# A prompt is rarely about more of the image than this.
_MOST_REGION = 40_000_000


def memory_need(grid: Grid, bytes_per_voxel: int) -> tuple[int, int | None]:
    """Bytes that predicting takes on an image, its own copy among them, and bytes that are free; None if not known."""
    voxels = math.prod(grid.shape)
    needed = _LIBRARIES + voxels * bytes_per_voxel + VOXEL_BUDGET * _WORKING + min(voxels, _MOST_REGION) * _REGION
    free = [n for n in (free_on_machine(), free_in_group()) if n is not None]
    return needed, min(free, default=None)
